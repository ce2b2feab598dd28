"""The workspace's storage account, Azurite over TLS: containers, signatures, folder transfers."""

from __future__ import annotations

import contextlib
import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from azure.core.exceptions import ResourceExistsError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import (
    AccountSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)

from azure_stand_in.azurite import Azurite

SUFFIX = "core.localhost"
BLOBS, ARTIFACTS = "azureml-blobstore", "azureml-artifacts"
_EVERYTHING = {"read": True, "create": True, "write": True, "delete": True, "list": True, "add": True}


class Storage:
    """The service's access to the account, with its key."""

    def __init__(self, azurite: Azurite, authority: Path) -> None:
        self.account, self.key = azurite.account, azurite.key
        self.url = f"https://{azurite.account}.blob.{SUFFIX}"
        # The service itself needs no proxy to reach its storage.
        self._service = BlobServiceClient(
            azurite.blob_url,
            credential=azurite.key,
            transport=RequestsTransport(connection_verify=str(authority), use_env_settings=False),
        )
        self._known: set[str] = set()
        self._lock = threading.Lock()
        for name in (BLOBS, ARTIFACTS):
            self.container(name)

    def container(self, name: str) -> ContainerClient:
        """Return a container; create a missing one."""
        client = self._service.get_container_client(name)
        with self._lock:
            if name not in self._known:
                with contextlib.suppress(ResourceExistsError):
                    client.create_container()
                self._known.add(name)
        return client

    def container_signature(self, name: str) -> str:
        """Return a signature (SAS) for one container."""
        return generate_container_sas(
            self.account,
            name,
            account_key=self.key,
            permission=ContainerSasPermissions(**_EVERYTHING),
            expiry=_soon(),
        )

    def account_signature(self) -> str:
        """Return a signature for the account that expires, as from `listSecrets`."""
        return generate_account_sas(
            self.account,
            self.key,
            ResourceTypes(container=True, object=True),
            AccountSasPermissions(**_EVERYTHING, update=True),
            _soon(),
        )

    def containers(self) -> list[str]:
        """Return the names of all containers."""
        return [str(one.name) for one in self._service.list_containers()]

    def write(self, container: str, name: str, content: bytes) -> None:
        """Write one blob."""
        self.container(container).upload_blob(name, content, overwrite=True)

    def read(self, container: str, name: str) -> bytes:
        """Return one blob's content."""
        return self.container(container).download_blob(name).readall()

    def names(self, container: str, prefix: str) -> list[str]:
        """Yield the names of blobs with this prefix."""
        return [str(name) for name in self.container(container).list_blob_names(name_starts_with=prefix)]

    def fetch(self, container: str, prefix: str, folder: Path) -> Path:
        """Download what is at `prefix` to `folder`; return the file if it is one, else the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        prefix = prefix.rstrip("/")
        for name in self.names(container, prefix):
            below = name[len(prefix) :]
            if prefix and below and not below.startswith("/"):
                continue
            path = folder / (below.lstrip("/") or Path(name).name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(container, name))
            if not below:
                return path
        return folder

    def push(self, folder: Path, container: str, prefix: str) -> None:
        """Upload all files below `folder`, under `prefix`."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.write(container, f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def container_and_path(address: str) -> tuple[str, str]:
    """Return the container and path of a blob's URL."""
    container, _, path = unquote(urlsplit(address).path).lstrip("/").partition("/")
    return container, path.rstrip("/")


def datastore_and_path(address: str) -> tuple[str, str] | None:
    """Return NAME and PATH of `azureml://…/datastores/NAME/paths/PATH`, or None for other addresses."""
    found = re.search(r"/datastores/([^/]+)/(?:paths/)?(.*)$", address)
    return (found[1], found[2].rstrip("/")) if found else None


def _soon() -> datetime:
    return datetime.now(UTC) + timedelta(hours=8)
