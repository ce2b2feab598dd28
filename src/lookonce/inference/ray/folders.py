"""Folders on disks and in object stores, through fsspec."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from lookonce.errors import LookonceError
from lookonce.inference.ray.store_credentials import Credentials, hint, without_secrets
from lookonce.io.atomic import atomic_file
from lookonce.io.images import SUFFIXES

# Stores with atomic writes; elsewhere a temporary file is renamed.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory"}
_DRIVERS = {"s3": "s3fs", "s3a": "s3fs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs", "gs": "gcsfs"}
_MAGIC = "*?["

# Without a handler, Azure's clients log pages to the terminal; the raised error is enough.
logging.getLogger("azure").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Folder:
    """A folder: `path` within the file system `files`; `name` is used in messages."""

    files: Any
    path: str
    name: str

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the store's credentials, which are set before the store is opened again."""
        credentials = Credentials.here(_protocols(self.files))
        return _unpickle, (credentials, self.files.__reduce__(), self.path, self.name)

    @property
    def local(self) -> bool:
        """Whether the folder is on a local disk."""
        return isinstance(self.files, LocalFileSystem)

    def read(self, key: str, most_bytes: int | None = None) -> bytes:
        """Return a file's content, at most `most_bytes` of it. Raises the file system's errors."""
        # Reading a whole file needs no request for its size.
        options = {} if most_bytes is None else {"start": 0, "end": most_bytes}
        return bytes(self.files.cat_file(self._at(key), **options))

    def write(self, key: str, content: bytes) -> None:
        """Write a file atomically. Raises LookonceError."""
        target = self._at(key)
        if self.local:
            with atomic_file(Path(target)) as temporary:
                temporary.write_bytes(content)
            return
        try:
            if _protocols(self.files) & _OBJECT_STORES:
                self.files.pipe_file(target, content)
                return
            folder, _, name = target.rpartition("/")
            self.files.makedirs(folder, exist_ok=True)
            temporary_name = f"{folder}/.{name}.{uuid4().hex}"
            self.files.pipe_file(temporary_name, content)
            self.files.mv(temporary_name, target)
        # Errors of stores share no base class but Exception.
        except Exception as error:
            raise LookonceError(
                f"cannot write {self.name}/{key}: {error_text(error)}. Check the address and what the "
                "credentials allow; earlier files are untouched, and the same command resumes."
            ) from error

    def exists(self, key: str) -> bool:
        """Return whether the file exists. Raises LookonceError."""
        self.files.invalidate_cache()
        try:
            return bool(self.files.exists(self._at(key)))
        except Exception as error:
            raise _unreachable(f"{self.name}/{key}", error) from error

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of files in `folder`, empty if it is missing. Raises LookonceError."""
        self.files.invalidate_cache()
        try:
            found = self.files.ls(self._at(folder), detail=True)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise _unreachable(f"{self.name}/{folder}", error) from error
        return sorted(one["name"].rpartition("/")[2] for one in found if one["type"] == "file")

    def remove(self, key: str) -> None:
        """Delete a file, if it exists. Raises LookonceError."""
        try:
            self.files.rm_file(self._at(key))
        except FileNotFoundError:
            return
        except Exception as error:
            raise LookonceError(f"cannot delete {self.name}/{key}: {error_text(error)}.") from error

    def _at(self, key: str) -> str:
        return f"{self.path}/{key}" if self.path else key


def open_folder(address: str) -> Folder:
    """Open a path or an address such as s3://bucket/folder, existing or not. Raises LookonceError."""
    protocol = fsspec.utils.get_protocol(address)
    try:
        files, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        driver = _DRIVERS.get(protocol)
        fix = f"pip install {driver}" if driver else str(error)
        raise LookonceError(
            f"{address}: addresses with {protocol}:// require another package: {fix}."
        ) from error
    except Exception as error:
        raise LookonceError(
            f"{address}: cannot be used ({error_text(error)}). Expected a path or an address that fsspec "
            f"reads (s3://bucket/folder, abfs://container/folder), its credentials in the environment"
            f"{hint(protocol)}."
        ) from error
    path = str(path).rstrip("/")
    local = isinstance(files, LocalFileSystem)
    return Folder(files, path or ("/" if local else ""), path if local else address.rstrip("/"))


def list_keys(source: str) -> tuple[Folder, list[str]]:
    """List images: return their common folder and their sorted paths below it.

    `source` is a folder (searched recursively), a pattern (`**` for any depth) or one image. Raises
    LookonceError.
    """
    folder = open_folder(source)
    files, path = folder.files, folder.path
    try:
        kind = _kind(files, path)
        if kind == "file":
            root, found = path.rpartition("/")[0], [path]
        elif kind == "directory":
            root, found = path, _images(files.find(path))
        else:
            root = _before_pattern(path)
            listed = files.glob(path, detail=True) if root != path else {}
            found = _images(name for name, info in listed.items() if info["type"] == "file")
    except Exception as error:
        raise _unreachable(source, error) from error
    if not found:
        raise LookonceError(
            f"{source}: no images found; expected a folder of images or a pattern such as 'photos/**/*.jpg', "
            f"with one of the endings {' '.join(SUFFIXES)}."
        )
    start = len(root) + 1 if root not in ("", "/") else len(root)
    return Folder(files, root, folder.name), sorted(_text(name[start:]) for name in found)


def error_text(error: Exception) -> str:
    """Return the message of a file system's or store's error in one line, without secrets."""
    text = (getattr(error, "strerror", None) or str(error)).strip().partition("\n")[0]
    return without_secrets(text.rstrip(". ")) or type(error).__name__


def _unpickle(
    credentials: Credentials, files: tuple[Callable[..., Any], tuple[Any, ...]], path: str, name: str
) -> Folder:
    credentials.put_into(os.environ)
    make, arguments = files
    return Folder(make(*arguments), path, name)


def _unreachable(what: str, error: Exception) -> LookonceError:
    return LookonceError(
        f"{what}: cannot be listed ({error_text(error)}). Check the address, the network and the credentials "
        f"in the environment{hint(fsspec.utils.get_protocol(what))}."
    )


def _kind(files: Any, path: str) -> str | None:
    try:
        return str(files.info(path)["type"])
    except FileNotFoundError:
        return None


def _before_pattern(path: str) -> str:
    """Return the path before its first component with a wildcard."""
    parts = path.split("/")
    plain = next((index for index, part in enumerate(parts) if set(part) & set(_MAGIC)), len(parts))
    return "/".join(parts[:plain])


def _images(names: Any) -> list[str]:
    return [name for name in names if os.path.splitext(name)[1].lower() in SUFFIXES]


def _text(name: str) -> str:
    # Parquet columns are UTF-8; an escaped name cannot be opened and becomes a reject.
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _protocols(files: Any) -> set[str]:
    return {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)
