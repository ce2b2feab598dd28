"""Datastores of the workspace, and the labelled images of a job as a data asset in one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.blobs import SENT, THERE, TRAINING, BlobAccount, Progress, container_name, list_blobs
from lookonce.azure.retry import call
from lookonce.azure.session import storage_suffix
from lookonce.azure.upload import upload
from lookonce.errors import LookonceError
from lookonce.io.hashing import file_md5

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.storage.blob import ContainerClient

_NAME = re.compile(r"[a-zA-Z0-9_]{1,255}\Z")
_ADDRESS = re.compile(r"/datastores/([^/]+)/paths/(.*)\Z")


@dataclass(frozen=True)
class Datastore:
    """A datastore of the workspace, with a client of its container."""

    name: str
    container: ContainerClient

    def address(self, path: str) -> str:
        """Return the azureml:// address of a path in the datastore."""
        return f"azureml://datastores/{self.name}/paths/{path}"


def find_datastore(client: MLClient, name: str | None = None) -> Datastore:
    """Return a datastore, or the workspace's default one. Raises LookonceError, ResourceNotFoundError."""
    found: Any = call(
        client,
        lambda: (
            client.datastores.get(name, include_secrets=True)
            if name
            else client.datastores.get_default(include_secrets=True)
        ),
    )
    account, container = getattr(found, "account_name", None), getattr(found, "container_name", None)
    if not account or not container:
        raise LookonceError(f"datastore {found.name} is of type {found.type}; expected a blob container.")
    url = f"{found.protocol or 'https'}://{account}.blob.{storage_suffix(found.endpoint)}"
    # The workspace returns a key or a signature, or neither where it uses identities.
    secrets = found.credentials
    account_of = BlobAccount(
        account_url=url,
        key=getattr(secrets, "account_key", None),
        signature=getattr(secrets, "sas_token", None),
    )
    return Datastore(str(found.name), account_of.container(str(container), 16))


def datastore_of(client: MLClient, address: str) -> tuple[Datastore, str]:
    """Return the datastore and path in a long `azureml://` address. Raises LookonceError."""
    found = _ADDRESS.search(address)
    if found is None:
        raise LookonceError(f"{address} names no datastore; expected azureml://…/datastores/NAME/paths/PATH.")
    return find_datastore(client, found[1]), found[2].strip("/")


def ensure_datastore(client: MLClient, name: str) -> tuple[Datastore, bool]:
    """Return a datastore and whether it is new: a missing one is registered from the STORAGE_… variables."""
    if not _NAME.match(name):
        raise LookonceError(
            f"{name[:60]!r} is not a datastore name; expected letters, digits and underscores."
        )
    try:
        return find_datastore(client, name), False
    except ResourceNotFoundError:
        pass
    from azure.ai.ml.entities import AccountKeyConfiguration, AzureBlobDatastore

    account = BlobAccount.from_environment()
    container = container_name(None, TRAINING)
    # The account's name and key may come from the connection string.
    opened = account.container(container)
    key = getattr(opened.credential, "account_key", None)
    store = AzureBlobDatastore(
        name=name,
        account_name=str(opened.account_name),
        container_name=container,
        endpoint=storage_suffix("core.windows.net"),
        credentials=AccountKeyConfiguration(account_key=key) if key else None,
    )
    call(client, lambda: client.datastores.create_or_update(store))
    return find_datastore(client, name), True


_OTHER = re.compile(r"[^\w-]+")
_SHOWN = 5


@dataclass(frozen=True)
class JobData:
    """The input of a job: an address, and `name:version` of the data asset, if there is one."""

    address: str
    asset: str = ""


def resolve_data(
    client: MLClient,
    data: str,
    ds_name: str | None,
    say: Callable[[str], None],
    progress: Progress | None = None,
) -> JobData:
    """Return the input for `data`: a local folder, a path in the datastore `ds_name`, or `azureml:…`.

    A folder is uploaded: to `ds_name` under its own name, else to the workspace's default datastore under its
    name and a fingerprint of its content, so that the same content is never sent twice. Raises LookonceError.
    """
    if data.startswith("azureml:"):
        return JobData(data)
    folder = Path(data)
    name = _OTHER.sub("-", folder.resolve().name if folder.is_dir() else folder.name).strip("-_") or "data"
    if ds_name is not None:
        store, is_new = ensure_datastore(client, ds_name)
        say(
            f"Datastore {store.name}: container {store.container.container_name}"
            f"{', newly registered' * is_new}."
        )
        path = folder.resolve().name if folder.is_dir() else data.strip("/")
        if not folder.is_dir():
            if not path or not list_blobs(store.container, f"{path}/"):
                raise LookonceError(
                    f"{data}: no such folder here, and none in container {store.container.container_name}. "
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
    """Return twelve hexadecimal digits that identify the names and contents in a folder."""
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
            f"{len(summary.failed)} files did not reach datastore {store.name}, so no job was started. "
            "The same command continues the upload.\n  " + "\n  ".join(lines)
        )
    size = summary.sizes.get(SENT, 0) / 2**20
    say(
        f"Data: {summary.count(SENT)} files ({size:.1f} MiB) sent to datastore {store.name}, "
        f"{summary.count(THERE)} unchanged."
    )


def _asset(client: MLClient, store: Datastore, path: str, name: str, version: str | None) -> JobData:
    from azure.ai.ml.entities import Data

    address = store.address(f"{path}/")
    if version is not None:
        try:
            found: Any = call(client, lambda: client.data.get(name, version))
            if str(found.path).rstrip("/").endswith(f"/{path}"):
                return JobData(f"azureml:{name}:{version}", f"{name}:{version}")
            # The same images are registered at another path, and a version cannot be moved.
            return JobData(address)
        except ResourceNotFoundError:
            pass
    asset = Data(name=name, version=version, type="uri_folder", path=address)
    created: Any = call(client, lambda: client.data.create_or_update(asset))
    return JobData(f"azureml:{name}:{created.version}", f"{name}:{created.version}")
