"""Downloads of known base weights: resumed after a broken connection, verified before use."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lookonce.darknet.cfg import Cfg
from lookonce.darknet.weights import read_weights
from lookonce.darknet.zoo import published
from lookonce.errors import LookonceError
from lookonce.io.hashing import file_sha256

HOME = "https://pjreddie.com/media/files"
CHUNK_BYTES = 1 << 18
TIMEOUT_SECONDS = 30
ATTEMPTS = 5

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Known:
    """One downloadable file and how it is verified.

    Without `sha256` (its authors publish none) the exact size and the floats, read with `cfg`, are checked.
    """

    file: str
    size: int
    sha256: str | None = None
    cfg: Callable[[], Cfg] | None = None

    @property
    def checked_by(self) -> str:
        """Description of the verification."""
        return "SHA-256" if self.sha256 else "exact size and layer structure (no published checksum is known)"


KNOWN: dict[str, Known] = {
    "yolov3": Known("yolov3.weights", 248_007_048, cfg=lambda: published("yolov3")),
    "yolov3-tiny": Known(
        "yolov3-tiny.weights",
        35_434_956,
        "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
        lambda: published("yolov3-tiny"),
    ),
    # The first 74 layers of yolov3 hold 40,620,640 floats, after a header of 20 bytes.
    "darknet53": Known("darknet53.conv.74", 162_482_580, cfg=lambda: published("yolov3")),
}


class DownloadError(LookonceError):
    """Download failed, or its content is not the expected file."""


def fetch(
    name: str,
    folder: str | os.PathLike[str],
    base_url: str | None = None,
    progress: Progress | None = None,
    *,
    registry: Mapping[str, Known] = KNOWN,
    pause_seconds: float = 1.0,
) -> Path:
    """Download a known file into `folder` and return its path; an intact existing file is kept.

    Args:
        name: one of KNOWN.
        folder: target folder; FILE.part in it is resumed by a later call.
        base_url: mirror to use instead of the authors' server.
        progress: called with (bytes so far, total bytes).
        registry: known files by name.
        pause_seconds: wait between attempts, multiplied by the number of failures.

    Raises:
        DownloadError: unknown name, network or disk failure, or wrong content.
    """
    if name not in registry:
        raise DownloadError(f"{name!r} is not a known download; expected one of {', '.join(registry)}.")
    known = registry[name]
    target = Path(folder) / known.file
    part = target.with_name(target.name + ".part")
    url = f"{(base_url or HOME).rstrip('/')}/{known.file}"
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{url}: is not a download URL; expected https://...")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            fault = _fault(target, known)
            if fault:
                raise DownloadError(f"{target}: already exists, but {fault}. Move it away and try again.")
            return target
        _gather(url, part, known.size, progress, pause_seconds)
        fault = _fault(part, known)
        if fault:
            part.unlink()
            raise DownloadError(f"{url}: {fault}. It was deleted; try again, or use a mirror.")
        os.replace(part, target)
    except OSError as error:
        raise DownloadError(f"{target}: cannot be written ({error.strerror or error}).") from error
    return target


def _gather(url: str, part: Path, size: int, progress: Progress | None, pause_seconds: float) -> None:
    """Download `part` up to `size`, retrying while any of the last attempts made progress."""
    failures, have = 0, _size(part)
    while have != size:
        if have > size:
            part.unlink()
        reason = _attempt(url, part, size, progress)
        now = _size(part)
        failures = 0 if now > have else failures + 1
        have = now
        if have < size and failures >= ATTEMPTS:
            raise DownloadError(
                f"{url}: {reason or 'the connection was closed'}, {ATTEMPTS} times in a row. "
                f"{have:,} of {size:,} bytes are in {part}; the next attempt resumes there."
            )
        if have < size:
            time.sleep(pause_seconds * failures)


def _attempt(url: str, part: Path, size: int, progress: Progress | None) -> str:
    """Request the missing bytes; return why the request stopped early, or ''. Raises DownloadError."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "lookonce"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            part.unlink(missing_ok=True)
        elif error.code < 500 and error.code not in (408, 429):
            raise DownloadError(
                f"{url}: the server responded {error.code} {error.reason}. Use a mirror, or put the "
                f"file into {part.parent} yourself."
            ) from error
        return f"the server responded {error.code} {error.reason}"
    except (http.client.HTTPException, OSError) as error:
        return f"no connection ({getattr(error, 'reason', error)})"
    with response:
        if response.status != 206:
            have = 0
        elif _range_start(response) != have:
            part.unlink()
            return "the server resumed at another position than requested"
        offered = response.headers.get("Content-Length", "")
        if offered.isdigit() and have + int(offered) != size:
            raise DownloadError(
                f"{url}: the server offers {have + int(offered):,} bytes, expected {size:,}, so this is "
                "another file (an error page?). Open the URL in a browser, or use a mirror."
            )
        return _copy(response, part, have, size, progress)


def _copy(
    response: http.client.HTTPResponse, part: Path, have: int, size: int, progress: Progress | None
) -> str:
    with part.open("ab" if have else "wb") as file:
        while have < size:
            # Only network errors are retried; disk errors go to the caller.
            try:
                block = response.read(min(CHUNK_BYTES, size - have))
            except (http.client.HTTPException, OSError) as error:
                return f"the connection broke ({error})"
            if not block:
                return "the connection was closed early"
            file.write(block)
            have += len(block)
            if progress:
                progress(have, size)
        file.flush()
        os.fsync(file.fileno())
    return ""


def _range_start(response: http.client.HTTPResponse) -> int:
    """Return 100 for `Content-Range: bytes 100-199/200`; -1 without the header."""
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    return int(first) if first.isdigit() else -1


def _fault(path: Path, known: Known) -> str:
    """Return why a file is not the known one, or ''."""
    if _size(path) != known.size:
        return f"has {_size(path):,} bytes, expected {known.size:,}"
    if known.sha256:
        found = file_sha256(path)
        return "" if found == known.sha256 else f"has SHA-256 {found}, expected {known.sha256}"
    if known.cfg:
        try:
            read_weights(path, known.cfg())
        except LookonceError as error:
            return f"its floats are not those of the model ({error})"
    return ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
