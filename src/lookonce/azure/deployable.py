"""The model that a deployment gets: an ONNX file, from a file of ours or from the workspace's registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lookonce.azure.registry import AzureRegistry
from lookonce.errors import LookonceError
from lookonce.models.cards import read_card
from lookonce.models.registry import Registered, find, model_name

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_FILES = (".onnx", ".keras")


@dataclass(frozen=True)
class Deployable:
    """A model on this disk, and how it is called.

    Args:
        file: .onnx.
        name: in the registry.
        registered: its version there, if it has one.
        source: what it was made from, for people.
    """

    file: Path
    name: str
    registered: Registered | None
    source: str


def fetch(client: MLClient, given: str, service: str, folder: Path) -> Deployable:
    """MODEL of a command: a file, or NAME[:VERSION|:ALIAS] of the registry. Nothing is registered yet.

    What has to be fetched or exported goes to `folder`. A file is called as the service.
    Raises LookonceError.
    """
    path = Path(given)
    if path.suffix.lower() in _FILES or path.exists():
        if not path.is_file():
            raise LookonceError(f"{given}: no such file. Give a .onnx or .keras model.")
        return Deployable(_as_onnx(path, folder), model_name(service)[0], None, given)
    registry = AzureRegistry(client)
    version = find(registry, given)
    shown = f"{version.name}:{version.version}"
    file = registry.download(version, folder / "registered")
    if file.suffix.lower() == ".onnx":
        return Deployable(file, version.name, version, shown)
    return Deployable(_as_onnx(file, folder), f"{version.name}-onnx", None, shown)


def register(client: MLClient, model: Deployable) -> Registered:
    """Its version in the registry; the same content again is the one that is there. Raises LookonceError."""
    if model.registered is not None:
        return model.registered
    tags = {"source": model.source}
    if card := read_card(model.file):
        tags |= {"classes": ", ".join(card.classes), "input": f"{card.input_size[1]}x{card.input_size[0]}"}
    return AzureRegistry(client).register(model.file, model.name, tags, None)


def _as_onnx(file: Path, folder: Path) -> Path:
    """A service needs no Keras then, starts sooner, and its image is a gigabyte smaller."""
    if file.suffix.lower() == ".onnx":
        return file
    if file.suffix.lower() != ".keras":
        raise LookonceError(f"{file}: neither .onnx nor .keras. lookonce export makes a .onnx of it.")
    from lookonce.export import export_onnx

    return export_onnx(file, folder / "exported" / f"{file.stem}.onnx")
