"""Score images by a job of a batch endpoint: upload them, run the job, read its rows."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.blobs import last_lines_of_blob
from lookonce.azure.datastore import find_datastore, fingerprint
from lookonce.azure.deployment.batch import FILE, OUTPUT
from lookonce.azure.deployment.stages import Stages
from lookonce.azure.errors import without_secrets
from lookonce.azure.job_watch import RunHistory
from lookonce.azure.jobs import ENDED, find_job
from lookonce.azure.retry import call, state_text
from lookonce.azure.session import credential
from lookonce.azure.upload import upload
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_SHORTEST, _LONGEST = 0.5, 10.0
_LOG_LINES = 25
_SHOWN = 5


def score(
    client: MLClient,
    service: str,
    deployment: str | None,
    images: Mapping[str, Path],
    stages: Stages,
) -> dict[str, dict[str, Any]]:
    """Run a job over images; return a row for each, by its name in `images`. Raises LookonceError.

    `deployment` None means the endpoint's default.
    """
    address = _send(client, images, stages)
    job = _invoke(client, service, deployment, address)
    wait(client, job, stages)
    return read(client, job, images)


def wait(client: MLClient, job: str, stages: Stages) -> None:
    """Wait until the job has completed. Raises LookonceError with the end of its log where it fails."""
    going_on = (
        f"running job {job}. Watch it: lookonce azure jobs watch {job}. Cancel it: lookonce azure jobs "
        f"cancel {job}. Fetch its results once it has completed: the same command with --job {job}"
    )
    with stages.stage(f"running job {job}; starting a machine takes minutes", going_on) as stage:
        pause = _SHORTEST
        while (status := state_text(find_job(client, job).status)) not in ENDED:
            time.sleep(pause)
            pause = min(_LONGEST, pause * 1.3)
        if status != "Completed":
            raise LookonceError(_failure(client, job, status))
        stage.result = f"job {job} completed"


def read(client: MLClient, job: str, images: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Return the rows of a completed job, as `score`. Raises LookonceError."""
    with tempfile.TemporaryDirectory(prefix="lookonce-") as folder:
        call(client, lambda: client.jobs.download(job, download_path=folder, output_name=OUTPUT))
        files = [path for path in Path(folder).rglob(FILE) if path.is_file()]
        if len(files) != 1:
            raise LookonceError(
                f"job {job} has no output {FILE}. Read its log: lookonce azure jobs watch {job}"
            )
        rows = _rows(files[0])
    named: dict[str, dict[str, Any]] = {}
    for row in rows:
        if (name := _named(str(row.get("filename", "")), images)) is not None:
            named[name] = row
    return named


def last_lines(client: MLClient, service: str, count: int) -> dict[str, list[str]]:
    """Return the end of the newest job's log under the job's name, if any. Raises LookonceError."""
    jobs = call(client, lambda: list(client.batch_endpoints.list_jobs(service)))
    if not jobs:
        return {}
    name = str(jobs[0].name)
    history = RunHistory(client, credential())
    for step in (*_steps(client, name), name):
        if lines := _log_lines(history.details(step).logs, count):
            return {f"job {name} ({state_text(jobs[0].status)})": lines}
    return {f"job {name} ({state_text(jobs[0].status)})": []}


def _steps(client: MLClient, job: str) -> list[str]:
    return [str(one.name) for one in call(client, lambda: list(client.jobs.list(parent_job_name=job)))]


def _send(client: MLClient, images: Mapping[str, Path], stages: Stages) -> str:
    """Upload the images, and nothing beside them, to the workspace's storage; return their address."""
    with (
        tempfile.TemporaryDirectory(prefix="lookonce-") as place,
        stages.stage("uploading the images") as stage,
    ):
        folder = Path(place)
        for name, path in images.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.symlink_to(path.resolve())
            except OSError:
                shutil.copyfile(path, target)
        store = find_datastore(client)
        prefix = f"lookonce/batch/{fingerprint(folder)}"
        summary = upload(folder, store.container, prefix=prefix)
        if summary.failed:
            lines = [f"{name}: {reason}" for name, reason in sorted(summary.failed.items())[:_SHOWN]]
            raise LookonceError(
                f"{len(summary.failed)} images could not be uploaded to the workspace's storage. The same "
                "command continues the upload.\n  " + "\n  ".join(lines)
            )
        count = f"{len(images):,} image{'s are' if len(images) > 1 else ' is'}"
        stage.result = f"{count} in datastore {store.name}, at {prefix}"
        return store.address(f"{prefix}/")


def _invoke(client: MLClient, service: str, deployment: str | None, address: str) -> str:
    from azure.ai.ml import Input

    def request() -> Any:
        data = Input(type="uri_folder", path=address)
        return client.batch_endpoints.invoke(endpoint_name=service, deployment_name=deployment, input=data)

    try:
        return str(call(client, request).name)
    except ResourceNotFoundError as error:
        raise LookonceError(
            f"{service} has no {f'deployment {deployment}' if deployment else 'default deployment'}."
        ) from error


def _failure(client: MLClient, job: str, status: str) -> str:
    """Return why a job failed: the error of its step, and the end of its log."""
    history = RunHistory(client, credential())
    text = f"job {job} ended as {status}"
    for name in (*_steps(client, job), job):
        details = history.details(name)
        if details.error:
            text += f": {without_secrets(details.error).strip().rstrip('.')}"
        if lines := _log_lines(details.logs, _LOG_LINES):
            return f"{text}.\nLast lines of its log:\n  " + "\n  ".join(lines)
        if details.error:
            break
    return f"{text}. Read its log: lookonce azure jobs watch {job}"


def _log_lines(logs: Mapping[str, str], count: int) -> list[str]:
    """Return the last lines of the first of a step's user logs that has any."""
    from azure.storage.blob import BlobClient

    for name in sorted(name for name in logs if name.startswith(("user_logs/", "logs/user/"))):
        with BlobClient.from_blob_url(logs[name]) as blob:
            if lines := last_lines_of_blob(blob, count):
                return lines
    return []


def _rows(file: Path) -> list[dict[str, Any]]:
    """Read one JSON object per line; the service may have quoted it as the only cell of a table."""
    rows = []
    with file.open(encoding="utf-8", newline="") as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                cells = next(csv.reader([line.rstrip("\r\n")], delimiter=" "))
                try:
                    row = json.loads(cells[0])
                except (ValueError, IndexError) as error:
                    raise LookonceError(f"{FILE} has an invalid line: {line[:80]!r}") from error
            rows.append(row)
    return rows


def _named(path: str, images: Mapping[str, Path]) -> str | None:
    """Return the image that a path on the node names: its longest tail that is an image's name."""
    parts = path.split("/")
    ends = ("/".join(parts[number:]) for number in range(len(parts)))
    return next((end for end in ends if end in images), None)
