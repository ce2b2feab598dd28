"""Download a blob container to a folder: what is missing or differs, atomically, never outside the folder."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from azure.core import MatchConditions

from lookonce.azure.blobs import SENT, THERE, Blob, Progress, Summary, in_parallel, list_blobs
from lookonce.azure.retry import with_retries
from lookonce.errors import LookonceError
from lookonce.io.atomic import atomic_file, remove_leftovers
from lookonce.io.hashing import file_md5

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

# Characters that no file system takes, and those that Windows reads as a drive, a stream or a folder.
_FOREIGN = re.compile(r'[\x00-\x1f\x7f]|[\\:*?"<>|]' if os.name == "nt" else r"[\x00-\x1f\x7f\\]")


def download(
    container: ContainerClient,
    folder: Path,
    prefix: str = "",
    dry_run: bool = False,
    at_once: int = 16,
    progress: Progress | None = None,
) -> Summary:
    """Download the container's files below `prefix`, under their names relative to it.

    Files with the same size and MD5 are kept; others are replaced atomically. Nothing is deleted. Raises
    LookonceError for an error that stops the whole download; the failure of a single file is in the summary.
    """
    start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    blobs = list_blobs(container, start)
    if not blobs:
        below = f" below {start}" if start else ""
        raise LookonceError(f"container {container.container_name} has no files{below}. Check the names.")
    summary = Summary()
    folder = Path(folder)
    places = {name: place_of(name[len(start) :], folder) for name in blobs}
    if not dry_run:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(filter(None, places.values()))
    for name in _shadowed(places):
        summary.failed[name] = (
            "its name is also that of a folder, or differs from another only in case; rename the blob"
        )
    for name, place in places.items():
        if place is None:
            summary.failed[name] = "its name leads out of the folder, or is invalid for a file"
    wanted = [
        (name, blob.size, (blob, place))
        for name, blob in blobs.items()
        if name not in summary.failed and (place := places[name]) is not None
    ]

    def one(item: tuple[Blob, Path], stop: threading.Event) -> str:
        return _fetch(container, *item, folder, dry_run, stop)

    total = sum(size for _, size, _ in wanted)
    in_parallel(wanted, one, summary, at_once, progress, total)
    return summary


def place_of(name: str, folder: Path) -> Path | None:
    """Return the path of a blob below `folder`, or None for a name that leads out of it or is invalid."""
    parts = PurePosixPath(name).parts
    if not name or name.startswith("/") or name != "/".join(parts) or _FOREIGN.search(name):
        return None
    if any(part in ("..", ".") or len(part.encode("utf-8")) > 255 for part in parts):
        return None
    if os.name == "nt" and any(part[-1] in " ." or Path(part).is_reserved() for part in parts):
        return None
    return folder.joinpath(*parts)


def _shadowed(places: dict[str, Path | None]) -> set[str]:
    """Return names that collide: `a` with `a/b`, and `A` with `a` where case is ignored."""
    folders = {parent for place in places.values() if place for parent in place.parents}
    found = {name for name, place in places.items() if place in folders}
    if os.name == "nt":
        seen: dict[str, str] = {}
        for name in sorted(places):
            if seen.setdefault(name.casefold(), name) != name:
                found.add(name)
    return found


def _fetch(
    container: ContainerClient, blob: Blob, place: Path, folder: Path, dry_run: bool, stop: threading.Event
) -> str:
    # A link in the folder may point out of it.
    if not place.parent.resolve().is_relative_to(folder.resolve()) or place.is_symlink():
        raise LookonceError("its path is a link that leads out of the folder; remove the link")
    # Without an MD5, equal sizes prove nothing, except for empty files.
    same_size = place.is_file() and place.stat().st_size == blob.size
    if same_size and (blob.size == 0 or (blob.md5 is not None and blob.md5 == file_md5(place))):
        return THERE
    if dry_run:
        return SENT

    def get() -> None:
        with atomic_file(place) as temporary, temporary.open("wb") as written:
            stream = container.download_blob(
                blob.name, etag=blob.etag, match_condition=MatchConditions.IfNotModified, max_concurrency=2
            )
            digest = hashlib.md5(usedforsecurity=False)
            size = 0
            for chunk in stream.chunks():
                written.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            if size != blob.size or blob.md5 not in (None, digest.digest()):
                raise ConnectionError("size or MD5 of the downloaded file is wrong")

    with_retries(get, stop)
    return SENT
