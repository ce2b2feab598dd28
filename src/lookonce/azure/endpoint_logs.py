"""What a deployment's container and its image's build have said, without what is secret in it."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobClient

from lookonce.azure.ask import ask
from lookonce.azure.datastore import find_datastore
from lookonce.azure.explain import without_secrets
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

# Where a message about a failed build says that its log is.
_BUILD_LOG = re.compile(r"azureml/ImageLogs/[\w./-]+\w")
_MOST_BYTES = 2**20


def last_lines(client: MLClient, service: str, name: str, count: int) -> list[str]:
    """Of a deployment's container, or of what fetched model and code for it; [] where there is no log."""
    for container in ("inference-server", "storage-initializer"):
        try:
            read = partial(client.online_deployments.get_logs, name, service, count, container_type=container)
            said = ask(client, read)
        except (LookonceError, ResourceNotFoundError):
            continue
        lines = [line for line in _lines(str(said)) if not line.startswith("Instance status:")]
        if lines:
            return lines[-count:]
    return []


def build_log(error: BaseException | None) -> str | None:
    """Container and path, in the workspace's own storage, of the log that an image's failed build left."""
    while error is not None:
        if found := _BUILD_LOG.search(str(error)):
            return found[0]
        error = error.__cause__
    return None


def stored_lines(client: MLClient, path: str, count: int) -> list[str]:
    """The last lines of a file in the workspace's own storage; [] where it can't be had."""
    try:
        account = find_datastore(client).container
        container, _, name = path.partition("/")
        address = f"{account.scheme}://{account.primary_hostname}"
        blob = BlobClient(address, container, name, credential=account.credential)
        size = ask(client, lambda: blob.get_blob_properties().size)
        start = max(0, size - _MOST_BYTES)
        content = ask(client, lambda: blob.download_blob(offset=start).readall()) if size else b""
    except (LookonceError, ResourceNotFoundError):
        return []
    return _lines(content.decode("utf-8", "replace"))[-count:]


def _lines(said: str) -> list[str]:
    return [without_secrets(line.rstrip()) for line in said.splitlines() if line.strip()]
