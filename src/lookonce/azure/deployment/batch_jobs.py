"""A folder of images through a batch endpoint: brought there, scored by a job, the rows fetched."""

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
    """The row of each image, by the name that it has in `images`. Raises LookonceError.

    `deployment` None is the endpoint's default.
    """
    address = _send(client, images, stages)
    job = _invoke(client, service, deployment, address)
    wait(client, job, stages)
    return read(client, job, images)


def wait(client: MLClient, job: str, stages: Stages) -> None:
    """Until the job has completed. Raises LookonceError, with the last lines of its log, when it doesn't."""
    going_on = (
        f"running job {job}. Watch it: lookonce azure jobs watch {job}. Cancel it: lookonce azure jobs "
        f"cancel {job}. Fetch its results once it has completed: the same command with --job {job}"
    )
    with stages.stage(f"job {job}; a machine that has to be started takes minutes", going_on) as stage:
        pause = _SHORTEST
        while (status := state_text(find_job(client, job).status)) not in ENDED:
            time.sleep(pause)
            pause = min(_LONGEST, pause * 1.3)
        if status != "Completed":
            raise LookonceError(_failure(client, job, status))
        stage.result = f"job {job} completed"


def read(client: MLClient, job: str, images: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """What a completed job found, as `score`. Raises LookonceError."""
    with tempfile.TemporaryDirectory(prefix="lookonce-") as folder:
        call(client, lambda: client.jobs.download(job, download_path=folder, output_name=OUTPUT))
        files = [path for path in Path(folder).rglob(FILE) if path.is_file()]
        if len(files) != 1:
            raise LookonceError(
                f"job {job} left no {FILE}. Its log tells why: lookonce azure jobs watch {job}"
            )
        rows = _rows(files[0])
    named: dict[str, dict[str, Any]] = {}
    for row in rows:
        if (name := _named(str(row.get("filename", "")), images)) is not None:
            named[name] = row
    return named


def last_lines(client: MLClient, service: str, count: int) -> dict[str, list[str]]:
    """Of the newest job's log, by the job's name; nothing where there was no job. Raises LookonceError."""
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
    """The images, and nothing beside them, in the workspace's own storage; where that is."""
    with (
        tempfile.TemporaryDirectory(prefix="lookonce-") as place,
        stages.stage("sending the images") as stage,
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
                f"{len(summary.failed)} images did not reach the workspace's storage. The same command "
                "goes on from there.\n  " + "\n  ".join(lines)
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
        raise LookonceError(f"{service} has no deployment {deployment or 'that is its default'}.") from error


def _failure(client: MLClient, job: str, status: str) -> str:
    """Why a job ended so: the step's error, and the end of its log."""
    history = RunHistory(client, credential())
    text = f"job {job} ended as {status}"
    for name in (*_steps(client, job), job):
        details = history.details(name)
        if details.error:
            text += f": {without_secrets(details.error).strip().rstrip('.')}"
        if lines := _log_lines(details.logs, _LOG_LINES):
            return f"{text}.\nThe last lines of its log:\n  " + "\n  ".join(lines)
        if details.error:
            break
    return f"{text}. Look: lookonce azure jobs watch {job}"


def _log_lines(logs: Mapping[str, str], count: int) -> list[str]:
    """Return the last lines of the first of a step's user logs that has any."""
    from azure.storage.blob import BlobClient

    for name in sorted(name for name in logs if name.startswith(("user_logs/", "logs/user/"))):
        with BlobClient.from_blob_url(logs[name]) as blob:
            if lines := last_lines_of_blob(blob, count):
                return lines
    return []


def _rows(file: Path) -> list[dict[str, Any]]:
    """One JSON object in each line; the service may have put it in quotes as a table's only cell."""
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
                    raise LookonceError(f"{FILE} has a line that is no answer: {line[:80]!r}") from error
            rows.append(row)
    return rows


def _named(path: str, images: Mapping[str, Path]) -> str | None:
    """Which image a path on the node is: the longest end of it that is an image's name."""
    parts = path.split("/")
    ends = ("/".join(parts[number:]) for number in range(len(parts)))
    return next((end for end in ends if end in images), None)
