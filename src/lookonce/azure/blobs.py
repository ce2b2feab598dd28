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
# One connection a thread, and none that a dead network holds for minutes.
_CONNECT_SECONDS, _READ_SECONDS = 20, 120


@dataclass(frozen=True)
class BlobAccount:
    """How the storage account is reached; never shown, for it holds the key."""

    connection_string: str | None = None
    account_url: str | None = None
    key: str | None = None
    signature: str | None = None

    @classmethod
    def from_environment(cls, environment: dict[str, str] | None = None) -> BlobAccount:
        """By the variables that the predecessor used, too. Raises LookonceError."""
        given = dict(os.environ) if environment is None else environment
        text = given.get("STORAGE_CONNECTION_STRING", "").strip()
        name, key = (given.get(f"STORAGE_ACCOUNT_{part}", "").strip() for part in ("NAME", "KEY"))
        if text:
            return cls(connection_string=text)
        if not name:
            raise LookonceError(f"no storage account is named. {_FIX}.")
        suffix = given.get("STORAGE_ENDPOINT_SUFFIX", "").strip() or "core.windows.net"
        url = name if "://" in name else f"https://{name}.blob.{suffix}"
        return cls(account_url=url, key=key or None)

    def container(self, name: str, connections: int = 8) -> ContainerClient:
        """The client of one container, which needn't exist yet. Raises LookonceError."""
        from azure.storage.blob import BlobServiceClient, ContainerClient
        from requests import Session
        from requests.adapters import HTTPAdapter

        check_container_name(name)
        # The default pool keeps ten connections, and opens one anew for every further thread's request.
        session = Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_connections=connections, pool_maxsize=connections))
        options: dict[str, Any] = {
            "session": session,
            "connection_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
            # `attempts` does it, where 429 counts, too.
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
        # Not the text of it: it may repeat the connection string.
        except (ValueError, KeyError, TypeError) as error:
            raise LookonceError(
                f"the storage account's connection string or key can't be read "
                f"({type(error).__name__}). {_FIX}."
            ) from None

    def __repr__(self) -> str:
        """Without what opens the account."""
        return "BlobAccount(…)"


def container_name(given: str | None, variable: str) -> str:
    """The container that --container or the variable names. Raises LookonceError."""
    name = (given or os.environ.get(variable, "")).strip()
    if not name:
        raise LookonceError(f"no container is named. Give --container NAME, or set {variable}.")
    check_container_name(name)
    return name


def check_container_name(name: str) -> None:
    """Raise LookonceError for a name that Azure would refuse."""
    if not _CONTAINER.match(name):
        raise LookonceError(
            f"{name[:80]!r} is no container name; expected 3 to 63 small letters, digits and single hyphens, "
            "a letter or digit at both ends."
        )


@dataclass(frozen=True)
class Blob:
    """One stored file; `md5` is None where whoever wrote it gave none."""

    name: str
    size: int
    md5: bytes | None
    etag: str


def list_blobs(container: ContainerClient, prefix: str = "") -> dict[str, Blob]:
    """All files below `prefix` by name. Raises LookonceError when the container is missing or closed."""

    def request() -> dict[str, Blob]:
        found = {}
        for blob in container.list_blobs(name_starts_with=prefix or None, include=["metadata"]):
            # Data Lake's folders stand in the list as empty blobs.
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
    """What came of every file: counts and bytes by result, and the reasons of those that failed."""

    counts: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, result: str, size: int) -> None:
        """One more file."""
        self.counts[result] = self.counts.get(result, 0) + 1
        self.sizes[result] = self.sizes.get(result, 0) + size

    def count(self, result: str) -> int:
        """Files with this result."""
        return self.counts.get(result, 0)


Progress = Callable[[Summary, int, int], None]
"""Called after each file with the summary so far, the bytes dealt with, and all bytes known."""


def in_parallel(
    items: Iterable[tuple[str, int, Item]],
    work: Callable[[Item, threading.Event], str],
    summary: Summary,
    at_once: int,
    progress: Progress | None = None,
    total_bytes: int = 0,
) -> None:
    """`work` on each (name, size, item), `at_once` at a time; it answers a result, or its error is noted.

    Ctrl-C stops: what has begun is finished or fails, the rest stays undone, and KeyboardInterrupt goes on.
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
