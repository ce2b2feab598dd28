"""The labelled images of a job: brought to a datastore, once, and named as a version of a data asset."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.ask import ask
from lookonce.azure.datastore import Datastore, ensure_datastore, find_datastore
from lookonce.azure.listing import list_blobs
from lookonce.azure.transfer import SENT, THERE, Progress
from lookonce.azure.upload import file_md5, upload
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_OTHER = re.compile(r"[^\w-]+")
_SHOWN = 5


@dataclass(frozen=True)
class JobData:
    """What the job's input is: the asset's `name:version`, or an address."""

    address: str
    asset: str = ""


def place_data(
    client: MLClient,
    data: str,
    ds_name: str | None,
    say: Callable[[str], None],
    progress: Progress | None = None,
) -> JobData:
    """Where the job finds `data`: a local folder, a path in the datastore `ds_name`, or `azureml:…`.

    A folder goes into `ds_name` under its own name, or else into the workspace's own datastore under its
    name and its content's fingerprint, where the same content is never sent twice. Raises LookonceError.
    """
    if data.startswith("azureml:"):
        return JobData(data)
    folder = Path(data)
    name = _OTHER.sub("-", folder.resolve().name if folder.is_dir() else folder.name).strip("-_") or "data"
    if ds_name is not None:
        store, made = ensure_datastore(client, ds_name)
        say(f"Datastore {store.name}: container {store.container.container_name}{', registered now' * made}.")
        path = folder.resolve().name if folder.is_dir() else data.strip("/")
        if not folder.is_dir():
            if not path or not list_blobs(store.container, f"{path}/"):
                raise LookonceError(
                    f"{data}: neither a folder here nor one in container {store.container.container_name}. "
                    "Check the path, or upload it: lookonce storage upload."
                )
            return _asset(client, store, path, name, None)
    elif not folder.is_dir():
        raise LookonceError(
            f"{data}: {'is a file' if folder.exists() else 'no such folder'}; expected a folder of labelled "
            "images, azureml:NAME:VERSION, or with --ds-name a path in that datastore."
        )
    print_ = fingerprint(folder)
    if ds_name is None:
        store, path = find_datastore(client), f"lookonce/data/{name}-{print_}"
    _send(store, folder, path, say, progress)
    return _asset(client, store, path, name, print_)


def fingerprint(folder: Path) -> str:
    """Twelve hexadecimal digits of all names and contents in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(file_md5(path))
    return digest.hexdigest()[:12]


def _send(
    store: Datastore, folder: Path, path: str, say: Callable[[str], None], progress: Progress | None
) -> None:
    summary = upload(folder, store.container, prefix=path, progress=progress)
    if summary.failed:
        lines = [f"{name}: {reason}" for name, reason in sorted(summary.failed.items())[:_SHOWN]]
        raise LookonceError(
            f"{len(summary.failed)} files did not reach datastore {store.name}, so no job was made. The same "
            "command goes on from there.\n  " + "\n  ".join(lines)
        )
    size = summary.sizes.get(SENT, 0) / 2**20
    say(
        f"Data: {summary.count(SENT)} files ({size:.1f} MiB) went to datastore {store.name}, "
        f"{summary.count(THERE)} were there."
    )


def _asset(client: MLClient, store: Datastore, path: str, name: str, version: str | None) -> JobData:
    from azure.ai.ml.entities import Data

    address = store.address(f"{path}/")
    if version is not None:
        try:
            found: Any = ask(client, lambda: client.data.get(name, version))
            if str(found.path).rstrip("/").endswith(f"/{path}"):
                return JobData(f"azureml:{name}:{version}", f"{name}:{version}")
            # The same images in another place; the version can't be moved.
            return JobData(address)
        except ResourceNotFoundError:
            pass
    wanted = Data(name=name, version=version, type="uri_folder", path=address)
    made: Any = ask(client, lambda: client.data.create_or_update(wanted))
    return JobData(f"azureml:{name}:{made.version}", f"{name}:{made.version}")
