"""Blob storage: the account and container of a command, their listing, and parallel transfers."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from azure.core.exceptions import HttpResponseError

from lookonce.azure.errors import explain, without_secrets
from lookonce.azure.retry import with_retries
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, ContainerClient

RAW, TRAINING = "STORAGE_CONTAINER_NAME_RAWDATA", "STORAGE_CONTAINER_NAME_TRAINDATA"
_CONTAINER = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]\Z")
_FIX = (
    "Set STORAGE_CONNECTION_STRING, or STORAGE_ACCOUNT_NAME with STORAGE_ACCOUNT_KEY, or "
    "STORAGE_ACCOUNT_NAME alone and sign in (az login, or the AZURE_… variables of a service principal)"
)
# Of a stored log, at most this much is read for its last lines.
_TAIL_BYTES = 2**20
# Short enough that a dead network does not hold a connection for minutes.
_CONNECT_SECONDS, _READ_SECONDS = 20, 120


@dataclass(frozen=True)
class BlobAccount:
    """Address and credentials of a storage account; its repr hides them."""

    connection_string: str | None = None
    account_url: str | None = None
    key: str | None = None
    signature: str | None = None

    @classmethod
    def from_environment(cls, environment: dict[str, str] | None = None) -> BlobAccount:
        """Read the account from STORAGE_… variables. Raises LookonceError."""
        given = dict(os.environ) if environment is None else environment
        text = given.get("STORAGE_CONNECTION_STRING", "").strip()
        name, key = (given.get(f"STORAGE_ACCOUNT_{part}", "").strip() for part in ("NAME", "KEY"))
        if text:
            return cls(connection_string=text)
        if not name:
            raise LookonceError(f"no storage account is configured. {_FIX}.")
        suffix = given.get("STORAGE_ENDPOINT_SUFFIX", "").strip() or "core.windows.net"
        url = name if "://" in name else f"https://{name}.blob.{suffix}"
        return cls(account_url=url, key=key or None)

    def container(self, name: str, connections: int = 8) -> ContainerClient:
        """Return a client of one container, which need not exist yet. Raises LookonceError."""
        from azure.storage.blob import BlobServiceClient, ContainerClient
        from requests import Session
        from requests.adapters import HTTPAdapter

        check_container_name(name)
        # The default pool keeps ten connections, and opens a new one for each request of further threads.
        session = Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_connections=connections, pool_maxsize=connections))
        options: dict[str, Any] = {
            "session": session,
            "connection_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
            # `with_retries` retries, including 429.
            "retry_total": 0,
        }
        try:
            if self.connection_string is not None:
                service = BlobServiceClient.from_connection_string(self.connection_string, **options)
                return service.get_container_client(name)
            assert self.account_url is not None
            credential: Any = self.key
            if self.signature is not None:
                from azure.core.credentials import AzureSasCredential

                credential = AzureSasCredential(self.signature.lstrip("?"))
            elif credential is None:
                from azure.identity import DefaultAzureCredential

                credential = DefaultAzureCredential()
            return ContainerClient(self.account_url, name, credential=credential, **options)
        # Hide the error's text: it may repeat the connection string.
        except (ValueError, KeyError, TypeError) as error:
            raise LookonceError(
                f"the storage account's connection string or key is invalid ({type(error).__name__}). {_FIX}."
            ) from None

    def __repr__(self) -> str:
        """Return a text without credentials."""
        return "BlobAccount(…)"


def container_name(given: str | None, variable: str) -> str:
    """Return `given`, or the container that the environment variable names. Raises LookonceError."""
    name = (given or os.environ.get(variable, "")).strip()
    if not name:
        raise LookonceError(f"no container is named. Name one, or set {variable}.")
    check_container_name(name)
    return name


def check_container_name(name: str) -> None:
    """Raise LookonceError for a name that Azure would refuse."""
    if not _CONTAINER.match(name):
        raise LookonceError(
            f"{name[:80]!r} is not a container name; expected 3 to 63 lowercase letters, digits and single "
            "hyphens, with a letter or digit at both ends."
        )


@dataclass(frozen=True)
class Blob:
    """One stored file; `md5` is None where the writer stored none."""

    name: str
    size: int
    md5: bytes | None
    etag: str


def list_blobs(container: ContainerClient, prefix: str = "") -> dict[str, Blob]:
    """Return the files below `prefix` by name. Raises LookonceError for a missing or closed container."""

    def request() -> dict[str, Blob]:
        found = {}
        for blob in container.list_blobs(name_starts_with=prefix or None, include=["metadata"]):
            # Data Lake lists folders as empty blobs.
            if blob.name.endswith("/") or (blob.metadata or {}).get("hdi_isfolder") == "true":
                continue
            md5 = blob.content_settings.content_md5
            found[blob.name] = Blob(blob.name, blob.size, None if md5 is None else bytes(md5), blob.etag)
        return found

    try:
        return with_retries(request)
    except HttpResponseError as error:
        if error.status_code == 404:
            raise LookonceError(
                f"the storage account has no container {container.container_name!r}; check the name."
            ) from error
        raise LookonceError(f"container {container.container_name}: {explain(error)}.") from error
    except Exception as error:
        raise LookonceError(f"container {container.container_name}: {explain(error)}.") from error


def last_lines_of_blob(blob: BlobClient, count: int) -> list[str]:
    """Return the last `count` lines of a stored log that are not blank, without secrets."""
    size = with_retries(blob.get_blob_properties).size
    start = max(0, size - _TAIL_BYTES)
    content: Any = with_retries(lambda: blob.download_blob(offset=start).readall()) if size else b""
    return last_lines_of_text(content.decode("utf-8", "replace"), count)


def last_lines_of_text(log: str, count: int) -> list[str]:
    """Return the last `count` lines of a log that are not blank, without secrets."""
    return [without_secrets(line.rstrip()) for line in log.splitlines() if line.strip()][-count:]


Item = TypeVar("Item")

SENT, THERE, DELETED, STRAY = "sent", "there", "deleted", "stray"


@dataclass
class Summary:
    """The results of a transfer: counts and bytes by result, and why files failed."""

    counts: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, result: str, size: int) -> None:
        """Count one more file."""
        self.counts[result] = self.counts.get(result, 0) + 1
        self.sizes[result] = self.sizes.get(result, 0) + size

    def count(self, result: str) -> int:
        """Return the number of files with this result."""
        return self.counts.get(result, 0)


Progress = Callable[[Summary, int, int], None]
"""Called after each file with the summary so far, the bytes processed, and the total bytes."""


def in_parallel(
    items: Iterable[tuple[str, int, Item]],
    work: Callable[[Item, threading.Event], str],
    summary: Summary,
    at_once: int,
    progress: Progress | None = None,
    total_bytes: int = 0,
) -> None:
    """Run `work` on each (name, size, item), `at_once` at a time; add its results and errors to `summary`.

    On Ctrl-C, running transfers finish or fail, the rest is skipped, and KeyboardInterrupt is raised.
    """
    stop = threading.Event()
    done_bytes = 0

    def one(item: Item) -> str:
        return work(item, stop)

    pool = ThreadPoolExecutor(at_once, thread_name_prefix="transfer")
    running: dict[Future[str], tuple[str, int]] = {}
    rest = deque(items)
    try:
        while rest or running:
            while rest and len(running) < 2 * at_once:
                name, size, item = rest.popleft()
                running[pool.submit(one, item)] = (name, size)
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                name, size = running.pop(future)
                error = future.exception()
                if error is None:
                    summary.add(future.result(), size)
                else:
                    summary.failed[name] = str(error) if isinstance(error, LookonceError) else explain(error)
                done_bytes += size
                if progress is not None:
                    progress(summary, done_bytes, total_bytes)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
