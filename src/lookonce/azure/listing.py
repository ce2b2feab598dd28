"""What a container holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from azure.core.exceptions import HttpResponseError

from lookonce.azure.attempts import attempt
from lookonce.azure.explain import explain
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient


@dataclass(frozen=True)
class Blob:
    """One stored file; `md5` is None where whoever wrote it gave none."""

    name: str
    size: int
    md5: bytes | None
    etag: str


def list_blobs(container: ContainerClient, prefix: str = "") -> dict[str, Blob]:
    """All files below `prefix` by name. Raises LookonceError when the container is missing or closed."""

    def ask() -> dict[str, Blob]:
        found = {}
        for blob in container.list_blobs(name_starts_with=prefix or None, include=["metadata"]):
            # Data Lake's folders stand in the list as empty blobs.
            if blob.name.endswith("/") or (blob.metadata or {}).get("hdi_isfolder") == "true":
                continue
            md5 = blob.content_settings.content_md5
            found[blob.name] = Blob(blob.name, blob.size, None if md5 is None else bytes(md5), blob.etag)
        return found

    try:
        return attempt(ask)
    except HttpResponseError as error:
        if error.status_code == 404:
            raise LookonceError(
                f"the storage account has no container {container.container_name!r}; check the name."
            ) from error
        raise LookonceError(f"container {container.container_name}: {explain(error)}.") from error
    except Exception as error:
        raise LookonceError(f"container {container.container_name}: {explain(error)}.") from error
