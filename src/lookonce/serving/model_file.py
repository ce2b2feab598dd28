"""Which model a service runs: the one named, or the one that its surroundings hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
    Raises LookonceError when there is none, or when a folder leaves the choice open.
    """
    if named:
        return _one(Path(named), "")
    for variable in ("LOOKONCE_MODEL", "AZUREML_MODEL_DIR"):
        if place := os.environ.get(variable):
            return _one(Path(place), f"${variable} is ")
    raise LookonceError(
        "no model is named. Give MODEL, or set LOOKONCE_MODEL to its file; Azure ML sets AZUREML_MODEL_DIR "
        "to the folder of the registered model."
    )


def _one(place: Path, told: str) -> Path:
    if not place.exists():
        raise LookonceError(f"{told}{place}: no such file or folder. Check the path.")
    if not place.is_dir():
        return place
    files = list(islice(_below(place), _MOST_FILES + 1))
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
    raise LookonceError(
        f"{told}{place}: holds no {' or '.join(_SUFFIXES)} file. Give the folder of an exported model "
        "(lookonce export MODEL --output model.onnx)."
    )


def _below(folder: Path) -> Iterator[Path]:
    """All files, but not hidden ones: half-written files have such names."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in files if not name.startswith("."))
