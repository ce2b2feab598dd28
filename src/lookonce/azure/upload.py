"""Upload a folder to a blob container: only what is new or changed, in parallel, with retries."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob import ContentSettings

from lookonce.azure.blobs import DELETED, SENT, STRAY, THERE, Blob, Progress, Summary, in_parallel, list_blobs
from lookonce.azure.errors import explain
from lookonce.azure.retry import with_retries
from lookonce.errors import LookonceError
from lookonce.io.hashing import file_md5

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

# Files up to this size are read once and sent in one request.
_WHOLE_BYTES = 8 * 2**20
_CHUNK = 2**20
_LONGEST_NAME = 1024


@dataclass(frozen=True)
class _Local:
    path: Path
    name: str
    size: int


def upload(
    folder: Path,
    container: ContainerClient,
    prefix: str = "",
    delete: bool = False,
    dry_run: bool = False,
    at_once: int = 16,
    progress: Progress | None = None,
) -> Summary:
    """Upload the files of `folder` under their relative paths, prefixed with `prefix`.

    Blobs with the same size and MD5 are kept. With `delete`, blobs below `prefix` that the folder lacks are
    deleted once everything else has arrived. With `dry_run` nothing is written. Raises LookonceError for an
    error that stops the whole upload; the failure of a single file is in the summary.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LookonceError(
            f"{folder}: {'is a file' if folder.exists() else 'no such folder'}; expected a folder."
        )
    summary = Summary()
    files = list(_files(folder, prefix, summary))
    if not files and not summary.failed:
        raise LookonceError(f"{folder}: contains no files. Check the path.")
    if not dry_run:
        _create(container, summary)
    present = _present(container, prefix, dry_run)

    def one(local: _Local, stop: threading.Event) -> str:
        return _send(container, local, present.get(local.name), dry_run, stop)

    total = sum(local.size for local in files)
    in_parallel(((local.name, local.size, local) for local in files), one, summary, at_once, progress, total)
    strays = sorted(present.keys() - {local.name for local in files} - summary.failed.keys())
    if delete and summary.failed:
        summary.notes.append("nothing was deleted, because some files failed")
    elif delete and not dry_run:

        def drop(blob: Blob, stop: threading.Event) -> str:
            with_retries(lambda: container.delete_blob(blob.name, delete_snapshots="include"), stop)
            return DELETED

        in_parallel(((name, 0, present[name]) for name in strays), drop, summary, at_once)
    else:
        for _ in strays:
            summary.add(STRAY, 0)
    return summary


def _files(folder: Path, prefix: str, summary: Summary) -> Iterator[_Local]:
    """Yield every file except hidden ones, which belong to systems and editors or are half written."""
    start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    for root, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if name.startswith("."):
                continue
            blob = start + path.relative_to(folder).as_posix()
            if problem := _unfit(blob):
                summary.failed[blob.encode("utf-8", "replace").decode()] = problem
                continue
            try:
                if not path.is_file():
                    raise OSError(0, "not a file, or a broken link")
                yield _Local(path, blob, path.stat().st_size)
            except OSError as error:
                summary.failed[blob] = explain(error)


def _unreadable(error: OSError) -> None:
    raise LookonceError(f"{error.filename}: {error.strerror}. Make the folder readable.") from error


def _unfit(name: str) -> str | None:
    if len(name) > _LONGEST_NAME:
        return f"its name has {len(name)} characters; at most {_LONGEST_NAME} are allowed"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid Unicode; rename it"
    if name.endswith(".") or any(part.endswith(".") for part in name.split("/")):
        return "a part of its name ends in a dot, which blob storage removes; rename it"
    return None


def _create(container: ContainerClient, summary: Summary) -> None:
    """Create the container, private, if it is missing; note it if the existing one is public."""
    try:
        with_retries(container.create_container)
        summary.notes.append(f"container {container.container_name} created, private")
        return
    except ResourceExistsError:
        pass
    except HttpResponseError as error:
        # A SAS for one container may not create it; listing shows whether it exists.
        if error.status_code != 403:
            raise LookonceError(f"container {container.container_name}: {explain(error)}.") from error
    except Exception as error:
        raise LookonceError(f"container {container.container_name}: {explain(error)}.") from error
    try:
        access = with_retries(container.get_container_properties).public_access
    except Exception:
        return
    if access:
        summary.notes.append(
            f"container {container.container_name} is public ({access}); make it private with: az storage "
            f"container set-permission --name {container.container_name} --public-access off"
        )


def _present(container: ContainerClient, prefix: str, dry_run: bool) -> dict[str, Blob]:
    start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    try:
        return list_blobs(container, start)
    except LookonceError as error:
        # A dry run creates no container.
        if dry_run and "has no container" in str(error):
            return {}
        raise


def _send(
    container: ContainerClient, local: _Local, present: Blob | None, dry_run: bool, stop: threading.Event
) -> str:
    before = local.path.stat()
    content = local.path.read_bytes() if before.st_size <= _WHOLE_BYTES else None
    md5 = file_md5(local.path) if content is None else hashlib.md5(content, usedforsecurity=False).digest()
    if present is not None and present.md5 == md5 and present.size == before.st_size:
        return THERE
    if dry_run:
        return SENT
    kind = mimetypes.guess_type(local.name)[0] or "application/octet-stream"
    settings = ContentSettings(content_type=kind, content_md5=bytearray(md5))

    def put() -> None:
        blob = container.get_blob_client(local.name)
        if content is not None:
            # The service checks the MD5 of what arrives.
            blob.upload_blob(content, overwrite=True, content_settings=settings, validate_content=True)
            return
        with local.path.open("rb") as stream:
            blob.upload_blob(
                stream,
                length=before.st_size,
                overwrite=True,
                content_settings=settings,
                validate_content=True,
                max_concurrency=2,
            )

    with_retries(put, stop)
    if content is None and local.path.stat().st_mtime_ns != before.st_mtime_ns:
        raise LookonceError("it changed during the upload; run the command again")
    return SENT
