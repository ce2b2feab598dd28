"""Checksums of files, read in pieces."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lookonce.errors import LookonceError


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        LookonceError: when the file cannot be read.
    """
    return _digest(path, "sha256").hex()


def file_md5(path: Path) -> bytes:
    """Return the MD5 of a file as 16 bytes, the checksum that Azure Blob Storage keeps.

    Raises:
        LookonceError: when the file cannot be read.
    """
    return _digest(path, "md5")


def _digest(path: Path, algorithm: str) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).digest()
    except OSError as error:
        raise LookonceError(f"{path}: cannot be read: {error.strerror or error}.") from error
