"""`lookonce train --on azure`: train as a job of the workspace."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lookonce.cli.azure.workspace import add_config_argument, needs_azure
from lookonce.errors import LookonceError

# Options of `train` that the job's command repeats.
_REPEATED = (
    *("model", "size", "resize", "num_clusters", "train_split", "val_split", "epochs", "freeze_epochs"),
    *("bs", "lr", "loss", "patience", "seed", "backend"),
    *("weight_decay", "multi_scale", "closing", "mosaic", "mixup", "flip_vertical"),
)
# Options that name files, which travel with the code.
_FILES = ("weights_cfg", "class_path", "recipe")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for training in Azure."""
    group = parser.add_argument_group("on Azure Machine Learning")
    group.add_argument("--on", choices=("local", "azure"), default="local", help="default: local")
    add_config_argument(group)
    group.add_argument(
        "--gpu-num", type=int, default=1, metavar="N", help="1, or 0 for a machine without a GPU (default: 1)"
    )
    group.add_argument("--nodes", type=int, default=1, metavar="N", help="machines: 1")
    group.add_argument("--compute", metavar="NAME", help="cluster, created if missing; or serverless")
    group.add_argument("--vm-size", metavar="SIZE", help="the cluster's machines (default: by --gpu-num)")
    group.add_argument("--low-priority", action="store_true", help="cheaper; resumes after preemption")
    group.add_argument(
        "--idle-seconds",
        type=int,
        default=900,
        metavar="N",
        help="keep an idle machine for N seconds (default 900)",
    )
    group.add_argument(
        "--ds-name", metavar="NAME", help="datastore for DATA (default: the workspace's default)"
    )
    group.add_argument("--register-as", metavar="NAME", help="the models' name (default: the experiment's)")
    group.add_argument("--no-watch", action="store_true", help="start the job and exit")
    group.add_argument(
        "--download", action="store_true", help="at the end, download the job's folder to --out"
    )


def check_machines(arguments: argparse.Namespace) -> None:
    """Raise LookonceError for more GPUs or machines than a training uses."""
    _at_least_one("--nodes", arguments.nodes)
    for flag, count in (("--gpu-num", arguments.gpu_num), ("--nodes", arguments.nodes)):
        if count > 1:
            raise LookonceError(
                f"{flag} {count}: training uses one GPU on one machine; the others would be idle, and cost "
                f"money on Azure. Use {flag} 1. For more speed name a machine with one larger GPU, such as "
                "--vm-size Standard_NC24ads_A100_v4."
            )


def run(arguments: argparse.Namespace, data: str) -> int:
    """Submit the job, watch it, register its models; return the exit code."""
    with needs_azure():
        from lookonce.azure import compute
        from lookonce.azure.datastore import resolve_data
        from lookonce.azure.environments import ensure_training_environment
        from lookonce.azure.jobs import Training, check_experiment, submit
        from lookonce.azure.session import credential, find_config, open_workspace
    from lookonce.cli.azure.jobs import watch

    # Check everything that can be wrong on this machine before creating anything in Azure.
    spec = compute.ComputeSpec(
        arguments.gpu_num,
        arguments.compute,
        arguments.vm_size,
        arguments.low_priority,
        _at_least_one("--idle-seconds", arguments.idle_seconds),
    )
    check_experiment(arguments.experiment_name)
    model = _registered_name(arguments)
    options, files = _options(arguments)
    _check_data(data, arguments)
    place, who = find_config(arguments.config), credential()
    client = open_workspace(place, who)
    with _data_progress() as progress:
        found = resolve_data(client, data, arguments.ds_name, _say, progress)
    _say(f"Images: {found.asset or found.address}")
    inputs = _weights(client, arguments)
    backend = arguments.backend or "tensorflow"
    environment, count = ensure_training_environment(client, backend, arguments.gpu_num > 0)
    _say(f"Environment: {environment}, {count} packages in this machine's versions.")
    cluster, about = compute.ensure(client, spec)
    _say(f"Compute: {about}.")
    job = submit(
        client,
        Training(
            arguments.experiment_name,
            options,
            found.address,
            cluster,
            spec.vm_size,
            environment,
            files,
            inputs,
        ),
    )
    _say(f"Job: {job.name}\n  {job.studio_url}")
    if arguments.no_watch:
        _say(f"Watch it: lookonce azure jobs watch {job.name}")
        return 0
    out = Path(arguments.out) if arguments.download else None
    return watch(client, who, job.name, model, out)


def _registered_name(arguments: argparse.Namespace) -> str:
    from lookonce.models.registry import model_name

    name, note = model_name(arguments.register_as or arguments.experiment_name)
    if note:
        _say(note)
    return name


def _options(arguments: argparse.Namespace) -> tuple[list[str], dict[str, Path]]:
    """Return the arguments of the job's command, and the files that they name."""
    words: list[str] = []
    files: dict[str, Path] = {}
    for name in (*_REPEATED, *_FILES):
        value = getattr(arguments, name)
        if value is None or value is False:
            continue
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
            continue
        if name in _FILES or str(value).endswith(".cfg"):
            path = Path(value)
            if not path.is_file():
                raise LookonceError(f"--{name.replace('_', '-')} {value}: no such file.")
            if files.setdefault(path.name, path) != path:
                raise LookonceError(
                    f"{files[path.name]} and {path} have the same name; the job needs different ones."
                )
            value = path.name
        elif isinstance(value, tuple):
            value = "x".join(map(str, value))
        words += [f"--{name.replace('_', '-')}", str(value)]
    return words, files


def _check_data(data: str, arguments: argparse.Namespace) -> None:
    """Check the labels on this machine; the job would report the same errors minutes later."""
    from lookonce.labels import load_dataset, read_classes

    if not Path(data).is_dir():
        return
    names = read_classes(Path(arguments.class_path)) if arguments.class_path else None
    checked = load_dataset(data, names)
    boxes = sum(len(record.boxes) for record in checked.records)
    _say(f"{checked.dataset.name}: {len(checked.records)} images, {boxes} boxes, checked.")


def _weights(client: Any, arguments: argparse.Namespace) -> dict[str, str]:
    """Register a weights file, or find a registered model; return the job's input for it."""
    if not arguments.weights:
        return {}
    from lookonce.azure.registry import AzureRegistry
    from lookonce.models.registry import find, model_name

    registry, file = AzureRegistry(client), Path(arguments.weights)
    if file.is_file():
        version = registry.register(file, model_name(file.stem)[0], {}, None)
    elif file.suffix in (".weights", ".keras"):
        raise LookonceError(
            f"--weights {file}: no such file. Give a file, or NAME[:VERSION] of a registered model."
        )
    else:
        version = find(registry, arguments.weights)
    _say(f"Base weights: {version.name}:{version.version}")
    return {"--weights": version.source}


@contextmanager
def _data_progress() -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("Uploading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda summary, done, total: bar.update(task, completed=done, total=total or None)


def _at_least_one(option: str, value: int) -> int:
    if value < 1:
        raise LookonceError(f"{option} is {value}; expected 1 or more.")
    return value


def _say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)
