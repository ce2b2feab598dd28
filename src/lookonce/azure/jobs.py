"""Training as a job: the code, the command and what belongs to them, submitted; listed, canceled."""

from __future__ import annotations

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

from lookonce.azure.ask import ask, quiet
from lookonce.azure.compute import SERVERLESS
from lookonce.deploy.package.snapshot import write_snapshot
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

ENDED = ("Completed", "Failed", "Canceled")
# The output that holds the run's folder.
RUN = "run"
_NAME = re.compile(r"[a-zA-Z0-9][\w-]{0,200}\Z")
_DISTRIBUTIONS = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "Mpi"}


@dataclass(frozen=True)
class Training:
    """One job.

    Args:
        experiment: its name in the workspace; the job's begins with it.
        options: the words after `lookonce train DATA`, without --out and --resume.
        files: files that the words name, by the names they have there.
        inputs: of each option such as "--weights", the address of what it takes.
        data: address of the labelled images.
    """

    experiment: str
    options: list[str]
    data: str
    compute: str
    vm_size: str
    environment: str
    backend: str = "tensorflow"
    nodes: int = 1
    files: Mapping[str, Path] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


def check_experiment(name: str) -> str:
    """`name`, if the workspace takes it. Raises LookonceError."""
    if not _NAME.match(name):
        raise LookonceError(
            f"--experiment-name {name[:60]!r} is no name for an experiment; expected up to 201 letters, "
            "digits, _ and -, a letter or digit first."
        )
    return name


def submit(client: MLClient, training: Training) -> Any:
    """Start the job; the workspace's description of it. Raises LookonceError.

    The command says --resume: a machine that is taken back leaves its folder in the mounted output, and the
    next one goes on from there.
    """
    from azure.ai.ml import Input, Output, command

    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    name = f"{check_experiment(training.experiment)}-{stamp}-{secrets.token_hex(2)}"
    words = ["python -m lookonce train ${{inputs.data}}", shlex.join(training.options)]
    # A download, for every epoch reads every image.
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
        more["resources"] = {"instance_type": training.vm_size, "instance_count": training.nodes}
    else:
        more |= {"compute": training.compute, "instance_count": training.nodes}
    if training.nodes > 1:
        more["distribution"] = _distribution(training)
    with tempfile.TemporaryDirectory(prefix="lookonce-") as folder, quiet():
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
        return ask(client, lambda: client.jobs.create_or_update(job))


def find_job(client: MLClient, name: str) -> Any:
    """The job called so. Raises LookonceError."""
    try:
        return ask(client, lambda: client.jobs.get(name))
    except ResourceNotFoundError:
        raise LookonceError(
            f"no job {name[:80]!r} in workspace {client.workspace_name}; lookonce azure jobs list shows "
            "those that are."
        ) from None


def newest_jobs(client: MLClient, most: int = 20) -> list[Any]:
    """The last ones, whoever made them."""
    return ask(client, lambda: list(itertools.islice(client.jobs.list(), most)))


def cancel(client: MLClient, name: str) -> str:
    """Ask a job to end, and wait until it has; its state then. Raises LookonceError."""
    if (status := status_of(find_job(client, name))) in ENDED:
        return status
    ask(client, lambda: client.jobs.begin_cancel(name).result())
    return status_of(find_job(client, name))


def status_of(job: Any) -> str:
    """Its state's word, which the SDK gives as an enumeration or as text."""
    return str(getattr(job.status, "value", job.status) or "")


def _distribution(training: Training) -> dict[str, Any]:
    kind = _DISTRIBUTIONS[training.backend]
    if kind == "TensorFlow":
        return {"type": kind, "worker_count": training.nodes}
    return {"type": kind, "process_count_per_instance": 1}
