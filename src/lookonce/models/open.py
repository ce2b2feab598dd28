"""MODEL as an ONNX graph, without Keras but for the first time that a .keras file is seen."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lookonce._version import __version__
from lookonce.errors import LookonceError
from lookonce.io.atomic import atomic_file
from lookonce.models.backend import MissingKerasError, choose_backend
from lookonce.models.darknet_pair import must_exist, read_pair, refuse_misfits

if TYPE_CHECKING:
    from lookonce.core.model_card import ModelCard
    from lookonce.darknet import Cfg, DarknetWeights

# Converted models kept; of more, those unused for longest go.
_KEPT = 8
# What one ONNX file can hold at most.
_MOST_BYTES = 2**31


def open_graph(path: str | Path, weights: str | Path | None = None) -> bytes:
    """An ONNX file's content, card inside: of MODEL as `.onnx`, `.keras`, or Darknet `.cfg` with `weights`.

    A .keras file is converted once; the graph is kept in the user's cache folder under a hash of the file.
    Raises LookonceError.
    """
    path = Path(path)
    refuse_misfits(path, weights)
    if path.suffix == ".cfg":
        return _converted(*read_pair(path, weights))
    must_exist(path)
    return _content(path) if path.suffix == ".onnx" else _converted_keras(path)


def cache_folder() -> Path:
    """Where converted models are kept: $LOOKONCE_CACHE, or the user's own cache folder."""
    if "LOOKONCE_CACHE" in os.environ:
        return Path(os.environ["LOOKONCE_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lookonce"


def _converted_keras(path: Path) -> bytes:
    digest = hashlib.sha256(_content(path)).hexdigest()
    kept = cache_folder() / f"{digest[:32]}-{__version__}.onnx"
    if kept.exists():
        kept.touch()
        return _content(kept)
    # Not above: this takes seconds, and needs Keras and a backend.
    try:
        choose_backend()
    except MissingKerasError as error:
        raise LookonceError(
            f"{path}: needs Keras once, to be converted: pip install 'lookonce[tensorflow]'. "
            "Or export it where Keras is installed: lookonce export MODEL --format onnx."
        ) from error
    from lookonce.darknet import parse_cfg
    from lookonce.models.keras import load_model, to_darknet

    network, card = load_model(path)
    cfg = parse_cfg(card.cfg, f"{path}, its cfg")
    graph = _converted(cfg, to_darknet(network, cfg), card)
    _keep(kept, graph)
    return graph


def _converted(cfg: Cfg, weights: DarknetWeights, card: ModelCard) -> bytes:
    from lookonce.models.onnx import network_graph, write_card

    graph = network_graph(cfg, weights.layers, card.input_size)
    write_card(graph, card)
    return bytes(graph.SerializeToString())


def _keep(kept: Path, graph: bytes) -> None:
    """Put a converted model into the cache; a folder that can't be written only costs time."""
    try:
        with atomic_file(kept) as temporary:
            temporary.write_bytes(graph)
        others = sorted(kept.parent.glob("*.onnx"), key=lambda file: file.stat().st_mtime, reverse=True)
        for old in others[_KEPT:]:
            old.unlink(missing_ok=True)
    except (OSError, LookonceError):
        return


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise LookonceError(f"{path}: {size:,} bytes are more than a model has. Give another file.")
        return path.read_bytes()
    except OSError as error:
        raise LookonceError(f"{path}: can't be read: {error.strerror or error}.") from error
