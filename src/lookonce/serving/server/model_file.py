"""Find the model that a service runs: named explicitly, or through environment variables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from lookonce.errors import LookonceError

# In order of preference: an .onnx file needs neither conversion nor Keras.
_SUFFIXES = (".onnx", ".keras")
# A model's folder holds a handful of files; naming / by mistake fails early.
_MOST_FILES = 10_000
_SHOWN = 8


def find_model(named: str | None) -> Path:
    """Return the model file: `named`, else `$LOOKONCE_MODEL`, else the one below `$AZUREML_MODEL_DIR`.

    Each may be a file, or a folder with one model anywhere below it; .onnx is preferred to .keras.
    Raises LookonceError if there is none, or if a folder is ambiguous or unreadable.
    """
    if named:
        return _resolve(Path(named), "")
    for variable in ("LOOKONCE_MODEL", "AZUREML_MODEL_DIR"):
        if place := os.environ.get(variable):
            return _resolve(Path(place), f"${variable} is ")
    raise LookonceError(
        "no model given. Give MODEL, or set LOOKONCE_MODEL to its file; Azure ML sets AZUREML_MODEL_DIR "
        "to the folder of the registered model."
    )


def _resolve(path: Path, origin: str) -> Path:
    try:
        return _only_model(path, origin)
    except OSError as error:
        inner = "" if error.filename in (None, str(path)) else f"{error.filename} "
        raise LookonceError(
            f"{origin}{path}: {inner}cannot be read: {error.strerror}. Grant read access to this process."
        ) from error


def _only_model(folder: Path, origin: str) -> Path:
    if not folder.exists():
        raise LookonceError(f"{origin}{folder}: no such file or folder. Check the path.")
    if not folder.is_dir():
        return folder
    unread: list[OSError] = []
    files = list(islice(_files_below(folder, unread.append), _MOST_FILES + 1))
    if len(files) > _MOST_FILES:
        raise LookonceError(
            f"{origin}{folder}: holds more than {_MOST_FILES:,} files; name the model file itself."
        )
    for suffix in _SUFFIXES:
        found = sorted(path for path in files if path.suffix.lower() == suffix)
        if len(found) > 1:
            names = ", ".join(path.relative_to(folder).as_posix() for path in found[:_SHOWN])
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise LookonceError(
                f"{origin}{folder}: holds {len(found)} {suffix} models: {names}{more}. Name one of them: "
                "lookonce serve FILE, or LOOKONCE_MODEL=FILE."
            )
        if found:
            return found[0]
    # Unreadable folders matter only when no model was found: a disk's lost+found is never readable.
    if unread:
        raise unread[0]
    raise LookonceError(
        f"{origin}{folder}: holds no {' or '.join(_SUFFIXES)} file. Give the folder of an exported model "
        "(lookonce export MODEL --output model.onnx)."
    )


def _files_below(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    """Yield all files except hidden ones: half-written files have such names."""
    for root, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in files if not name.startswith("."))
