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
    """One, with a client of its container."""

    name: str
    container: ContainerClient

    def address(self, path: str) -> str:
        """Of a path in it, as jobs and assets take it."""
        return f"azureml://datastores/{self.name}/paths/{path}"


def find_datastore(client: MLClient, name: str | None = None) -> Datastore:
    """The one called so, or the workspace's own. Raises LookonceError, ResourceNotFoundError."""
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
        raise LookonceError(
            f"datastore {found.name} is of type {found.type}; expected one of a blob container."
        )
    url = f"{found.protocol or 'https'}://{account}.blob.{storage_suffix(found.endpoint)}"
    # Of these, what the workspace gives out; none where it goes by identities.
    opens = found.credentials
    account_of = BlobAccount(
        account_url=url,
        key=getattr(opens, "account_key", None),
        signature=getattr(opens, "sas_token", None),
    )
    return Datastore(str(found.name), account_of.container(str(container), 16))


def datastore_of(client: MLClient, address: str) -> tuple[Datastore, str]:
    """Datastore and path that a long `azureml://` address names. Raises LookonceError."""
    found = _ADDRESS.search(address)
    if found is None:
        raise LookonceError(
            f"{address}: names no datastore; expected azureml://…/datastores/NAME/paths/PATH."
        )
    return find_datastore(client, found[1]), found[2].strip("/")


def ensure_datastore(client: MLClient, name: str) -> tuple[Datastore, bool]:
    """The one called so, registered from the variables of `lookonce storage` where there is none yet."""
    if not _NAME.match(name):
        raise LookonceError(
            f"--ds-name {name[:60]!r} is no name for a datastore; expected letters, digits and underscores."
        )
    try:
        return find_datastore(client, name), False
    except ResourceNotFoundError:
        pass
    from azure.ai.ml.entities import AccountKeyConfiguration, AzureBlobDatastore

    account = BlobAccount.from_environment()
    container = container_name(None, TRAINING)
    # The account's name and key, wherever they were given.
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
    """What the job's input is: the asset's `name:version`, or an address."""

    address: str
    asset: str = ""


def resolve_data(
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
            found: Any = call(client, lambda: client.data.get(name, version))
            if str(found.path).rstrip("/").endswith(f"/{path}"):
                return JobData(f"azureml:{name}:{version}", f"{name}:{version}")
            # The same images in another place; the version can't be moved.
            return JobData(address)
        except ResourceNotFoundError:
            pass
    wanted = Data(name=name, version=version, type="uri_folder", path=address)
    made: Any = call(client, lambda: client.data.create_or_update(wanted))
    return JobData(f"azureml:{name}:{made.version}", f"{name}:{made.version}")
