"""Atomic file writes: no reader, crash or full disk ever leaves half a file."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lookonce.errors import LookonceError

# The names that atomic_file gives its temporary files.
_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}(\.[^.]*)?\Z", re.DOTALL)
_ABANDONED_SECONDS = 300


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; sync it and rename it to `path` when the block succeeds.

    An error inside the block leaves an existing `path` unchanged and removes the temporary file.
    Raises LookonceError when the disk is full or the folder is not writable.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays last: Keras and Pillow choose the format by it.
        fresh = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
        # Not mkstemp: it makes files private, and widening them afterwards takes the umask, which can only be
        # read by setting it for the whole process. Here the kernel applies it.
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary = fresh
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise LookonceError(
            f"cannot write {path}: {error.strerror or error}. "
            "Free some space or choose another folder; files saved earlier are unchanged."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text` (UTF-8) atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove old temporary files of `paths`, left by a killed process."""
    folders: dict[Path, set[str]] = {}
    for path in paths:
        folders.setdefault(path.parent, set()).add(path.name)
    for folder, names in folders.items():
        if not folder.is_dir():
            continue
        for entry in os.scandir(folder):
            found = _TEMPORARY.match(entry.name)
            if found and found[1] + (found[2] or "") in names:
                with suppress(OSError):
                    if time.time() - entry.stat().st_mtime > _ABANDONED_SECONDS:
                        os.unlink(entry.path)
