"""Which model a service runs: the one named, or the one that its surroundings hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from lookonce.errors import LookonceError

# The first that a folder has: ONNX Runtime needs no conversion, and a service no Keras.
_SUFFIXES = (".onnx", ".keras")
# A model's folder holds a handful; whoever names / by mistake gets an answer soon.
_MOST_FILES = 10_000
_SHOWN = 8


def find_model(named: str | None) -> Path:
    """MODEL of a service: `named`, else `$LOOKONCE_MODEL`, else the one model below `$AZUREML_MODEL_DIR`.

    Each may be a file, or a folder with one model anywhere below it, .onnx before .keras.
    Raises LookonceError when there is none, or when a folder leaves the choice open or can't be read.
    """
    if named:
        return _reached(Path(named), "")
    for variable in ("LOOKONCE_MODEL", "AZUREML_MODEL_DIR"):
        if place := os.environ.get(variable):
            return _reached(Path(place), f"${variable} is ")
    raise LookonceError(
        "no model is named. Give MODEL, or set LOOKONCE_MODEL to its file; Azure ML sets AZUREML_MODEL_DIR "
        "to the folder of the registered model."
    )


def _reached(place: Path, told: str) -> Path:
    try:
        return _one(place, told)
    except OSError as error:
        inner = "" if error.filename in (None, str(place)) else f"{error.filename} "
        raise LookonceError(
            f"{told}{place}: {inner}can't be read: {error.strerror}. Give the user of this process the right."
        ) from error


def _one(place: Path, told: str) -> Path:
    if not place.exists():
        raise LookonceError(f"{told}{place}: no such file or folder. Check the path.")
    if not place.is_dir():
        return place
    unread: list[OSError] = []
    files = list(islice(_below(place, unread.append), _MOST_FILES + 1))
    if len(files) > _MOST_FILES:
        raise LookonceError(
            f"{told}{place}: holds more than {_MOST_FILES:,} files; name the model's file itself."
        )
    for suffix in _SUFFIXES:
        found = sorted(path for path in files if path.suffix.lower() == suffix)
        if len(found) > 1:
            names = ", ".join(path.relative_to(place).as_posix() for path in found[:_SHOWN])
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise LookonceError(
                f"{told}{place}: holds {len(found)} {suffix} models: {names}{more}. Name one of them: "
                "lookonce serve FILE, or LOOKONCE_MODEL=FILE."
            )
        if found:
            return found[0]
    # With a model in sight they don't matter: a disk's lost+found is nobody's.
    if unread:
        raise unread[0]
    raise LookonceError(
        f"{told}{place}: holds no {' or '.join(_SUFFIXES)} file. Give the folder of an exported model "
        "(lookonce export MODEL --output model.onnx)."
    )


def _below(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    """All files, but not hidden ones: half-written files have such names."""
    for root, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in files if not name.startswith("."))
