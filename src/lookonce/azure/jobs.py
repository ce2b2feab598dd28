"""Training jobs: submit, list, cancel, and fetch or register what a job left."""

from __future__ import annotations

import csv
import io
import itertools
import re
import secrets
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.blobs import Progress, Summary, list_blobs
from lookonce.azure.compute import SERVERLESS
from lookonce.azure.datastore import Datastore, datastore_of
from lookonce.azure.download import download
from lookonce.azure.registry import AzureRegistry
from lookonce.azure.retry import call, sdk_silenced, with_retries
from lookonce.deploy.package.snapshot import write_snapshot
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from lookonce.models.registry import Registered

ENDED = ("Completed", "Failed", "Canceled")
# Name of the output that is the run's folder.
RUN = "run"
_NAME = re.compile(r"[a-zA-Z0-9][\w-]{0,200}\Z")


@dataclass(frozen=True)
class Training:
    """A training job.

    Args:
        experiment: name of the experiment; the job's name begins with it.
        options: the arguments after `lookonce train DATA`, without --out and --resume.
        files: files that `options` names, by their names in the job's folder.
        inputs: options such as "--weights", with the addresses of their files.
        data: address of the labelled images.
    """

    experiment: str
    options: list[str]
    data: str
    compute: str
    vm_size: str
    environment: str
    files: Mapping[str, Path] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


def check_experiment(name: str) -> str:
    """Return `name` if it is valid for an experiment. Raises LookonceError."""
    if not _NAME.match(name):
        raise LookonceError(
            f"{name[:60]!r} is not an experiment name; expected up to 201 letters, digits, _ and -, with a "
            "letter or digit first."
        )
    return name


def submit(client: MLClient, training: Training) -> Any:
    """Submit the job; return the workspace's description of it. Raises LookonceError.

    The command has --resume: a preempted machine leaves its folder in the mounted output, and the next
    machine continues from there.
    """
    from azure.ai.ml import Input, Output, command

    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    name = f"{check_experiment(training.experiment)}-{stamp}-{secrets.token_hex(2)}"
    words = ["python -m lookonce train ${{inputs.data}}", shlex.join(training.options)]
    # Download the images, because every epoch reads all of them.
    inputs = {"data": Input(type="uri_folder", path=training.data, mode="download")}
    for option, address in training.inputs.items():
        key = option.strip("-").replace("-", "_")
        inputs[key] = Input(type="uri_file", path=address, mode="download")
        words.append(f"{option} ${{{{inputs.{key}}}}}")
    words.append(f"--out ${{{{outputs.{RUN}}}}} --resume")
    output = Output(
        type="uri_folder",
        mode="rw_mount",
        path=f"azureml://datastores/workspaceblobstore/paths/lookonce/jobs/{name}/",
    )
    more: dict[str, Any] = {}
    if training.compute == SERVERLESS:
        more["resources"] = {"instance_type": training.vm_size, "instance_count": 1}
    else:
        more["compute"] = training.compute
    with tempfile.TemporaryDirectory(prefix="lookonce-") as folder, sdk_silenced():
        write_snapshot(Path(folder), training.files)
        job = command(
            name=name,
            display_name=name,
            experiment_name=training.experiment,
            code=folder,
            command=" ".join(word for word in words if word),
            inputs=inputs,
            outputs={RUN: output},
            environment=f"azureml:{training.environment}",
            tags={"lookonce": "train"},
            **more,
        )
        return call(client, lambda: client.jobs.create_or_update(job))


def find_job(client: MLClient, name: str) -> Any:
    """Return the job of this name. Raises LookonceError."""
    try:
        return call(client, lambda: client.jobs.get(name))
    except ResourceNotFoundError:
        raise LookonceError(
            f"no job {name[:80]!r} in workspace {client.workspace_name}; lookonce azure jobs list shows "
            "its jobs."
        ) from None


def newest_jobs(client: MLClient, most: int = 20) -> list[Any]:
    """Return the newest jobs of the workspace."""
    return call(client, lambda: list(itertools.islice(client.jobs.list(), most)))


def cancel(client: MLClient, name: str) -> str:
    """Cancel a job, wait until it has stopped, and return its state. Raises LookonceError."""
    if (status := status_of(find_job(client, name))) in ENDED:
        return status
    call(client, lambda: client.jobs.begin_cancel(name).result())
    return status_of(find_job(client, name))


def status_of(job: Any) -> str:
    """Return the job's state as text; the SDK has an enum or text."""
    return str(getattr(job.status, "value", job.status) or "")


BEST, FINAL = "best", "final"
_FILES = {FINAL: "last/model.keras", BEST: "model.keras"}


def run_place(client: MLClient, name: str) -> tuple[Datastore, str]:
    """Return the datastore and path of a training job's folder. Raises LookonceError."""
    job: Any = find_job(client, name)
    output = (job.outputs or {}).get(RUN) if hasattr(job, "outputs") else None
    if output is None or not output.path:
        raise LookonceError(f"job {name} is not a lookonce training: it has no output {RUN!r}.")
    return datastore_of(client, str(output.path))


def read_rows(client: MLClient, name: str) -> list[dict[str, str]]:
    """Return the rows of a job's metrics.csv so far; none where it does not exist yet."""
    store, path = run_place(client, name)
    try:
        content = with_retries(lambda: store.container.download_blob(f"{path}/metrics.csv").readall())
    except ResourceNotFoundError:
        return []
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"))))


def register_models(client: MLClient, name: str, model: str) -> list[Registered]:
    """Register the best and final model of a job as versions of `model`, with their metrics as tags.

    Models that are registered already are kept. Raises LookonceError where the job left no model.
    """
    store, path = run_place(client, name)
    rows = read_rows(client, name)
    present = list_blobs(store.container, f"{path}/")
    if not rows or f"{path}/{_FILES[BEST]}" not in present:
        raise LookonceError(f"job {name} left no model.")
    validated = [row for row in rows if row.get("val_map")]
    chosen = {FINAL: rows[-1], BEST: max(validated, key=lambda row: float(row["val_map"]), default=rows[-1])}
    registry = AzureRegistry(client)
    done = []
    for kind, file in _FILES.items():
        if f"{path}/{file}" not in present:
            continue
        metrics = {key: value for key, value in chosen[kind].items() if key and value}
        tags = {**metrics, "job": name, "kind": kind, "file": Path(file).name}
        done.append(registry.register_output(store.address(f"{path}/{file}"), model, tags, kind))
    return done


def fetch(client: MLClient, name: str, folder: Path, progress: Progress | None = None) -> Summary:
    """Download a job's folder to `folder`; files that exist and are equal are kept."""
    store, path = run_place(client, name)
    return download(store.container, folder, prefix=path, progress=progress)
