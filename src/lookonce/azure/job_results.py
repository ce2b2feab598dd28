"""What a training job left: its models into the registry, its folder to this machine."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.attempts import attempt
from lookonce.azure.datastore import Datastore, datastore_of
from lookonce.azure.download import download
from lookonce.azure.jobs import RUN, find_job
from lookonce.azure.listing import list_blobs
from lookonce.azure.registry import AzureRegistry
from lookonce.azure.transfer import Progress, Summary
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from lookonce.models.registry import Registered

BEST, FINAL = "best", "final"
_FILES = {FINAL: "last/model.keras", BEST: "model.keras"}


def run_place(client: MLClient, name: str) -> tuple[Datastore, str]:
    """Datastore and path of a training job's folder. Raises LookonceError."""
    job: Any = find_job(client, name)
    output = (job.outputs or {}).get(RUN) if hasattr(job, "outputs") else None
    if output is None or not output.path:
        raise LookonceError(f"job {name} is no training of lookonce: it has no output {RUN!r}.")
    return datastore_of(client, str(output.path))


def read_rows(client: MLClient, name: str) -> list[dict[str, str]]:
    """metrics.csv of a job, the newest state of it; no rows where there is none yet."""
    store, path = run_place(client, name)
    try:
        content = attempt(lambda: store.container.download_blob(f"{path}/metrics.csv").readall())
    except ResourceNotFoundError:
        return []
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"))))


def register_models(client: MLClient, name: str, model: str) -> list[Registered]:
    """The best and the final model of a job as versions of `model`, with their metrics as tags.

    Twice is once: what is registered already stays. Raises LookonceError where the job left no model.
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
    """A job's folder into `folder`, checked; files that are there and equal stay."""
    store, path = run_place(client, name)
    return download(store.container, folder, prefix=path, progress=progress)
