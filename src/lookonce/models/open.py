"""Opening a model: a .keras or .onnx file, or a Darknet .cfg with its weights.

`open_graph` and `open_onnx` return an ONNX graph, and need Keras only to convert a new .keras file;
`open_model` returns a Keras model.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lookonce._version import __version__
from lookonce.core.boxes import RESIZES
from lookonce.core.model_card import ModelCard
from lookonce.darknet import Cfg, DarknetWeights, parse_cfg, read_cfg, read_weights
from lookonce.errors import LookonceError
from lookonce.io.atomic import atomic_file
from lookonce.models.backend import MissingKerasError, choose_backend
from lookonce.models.cards import card_from_metadata, graph_metadata, write_graph_card

if TYPE_CHECKING:
    import keras
    import onnx

# Number of converted models in the cache; the least recently used are removed.
_KEPT = 8
# Size limit of an ONNX file.
_MOST_BYTES = 2**31


def open_model(
    path: str | Path,
    weights: str | Path | None = None,
    classes: str | Path | None = None,
    resize: str | None = None,
) -> tuple[keras.Model, ModelCard]:
    """Open a model in Keras.

    Args:
        path: a `.keras` file, or a Darknet `.cfg`.
        weights: the Darknet weights of a `.cfg`.
        classes: a file with one class name per line; a cfg without it has class_0, class_1, ...
        resize: 'letterbox' or 'stretch'; None takes the card's, or the cfg's `letter_box`, else letterbox.

    Returns:
        The Keras model and its card.

    Raises:
        LookonceError: missing, damaged or mismatched files, or Keras is not installed.
    """
    path = Path(path)
    _refuse_misfits(path, weights)
    if path.suffix == ".cfg":
        cfg, found, card = _read_pair(path, weights)
        choose_backend()
        from lookonce.models.keras import build, load_darknet

        model = build(cfg)
        load_darknet(model, found.layers)
    else:
        _must_exist(path)
        choose_backend()
        from lookonce.models.keras.files import load_archive

        model, card = load_archive(path)
    return model, override_card(card, path, classes, resize)


def open_graph(path: str | Path, weights: str | Path | None = None) -> bytes:
    """Open a model as the content of an ONNX file, with the card inside.

    A .keras file is converted once; the graph is cached in the user's cache folder under a hash of the file.

    Args:
        path: a `.onnx` or `.keras` file, or a Darknet `.cfg`.
        weights: the Darknet weights of a `.cfg`.

    Raises:
        LookonceError: missing, damaged or mismatched files.
    """
    path = Path(path)
    _refuse_misfits(path, weights)
    if path.suffix == ".cfg":
        return _converted(*_read_pair(path, weights))
    _must_exist(path)
    return _content(path) if path.suffix == ".onnx" else _converted_keras(path)


def open_onnx(
    path: str | Path,
    weights: str | Path | None = None,
    classes: str | Path | None = None,
    resize: str | None = None,
) -> tuple[onnx.ModelProto, ModelCard]:
    """Open a model as a parsed ONNX graph; `classes` and `resize` override its card.

    Takes the arguments of `open_model`, and `.onnx` files too. Returns the graph and its card, which is also
    in the graph's metadata. Raises LookonceError.
    """
    import onnx

    path = Path(path)
    content = open_graph(path, weights)
    try:
        graph = onnx.load_from_string(content)
    # protobuf raises errors of its own.
    except Exception as error:
        raise LookonceError(f"{path}: is not an ONNX file ({type(error).__name__}).") from error
    card = override_card(card_from_metadata(graph_metadata(graph), str(path)), path, classes, resize)
    write_graph_card(graph, card)
    return graph, card


def override_card(card: ModelCard, path: Path, classes: str | Path | None, resize: str | None) -> ModelCard:
    """Return `card` with the class names in the file `classes` and with `resize`, where given.

    Raises LookonceError for a wrong number of names or an unknown `resize`.
    """
    if classes is not None:
        card = replace(card, classes=_read_names(classes, len(card.classes), path))
    if resize is None:
        return card
    if resize not in RESIZES:
        raise LookonceError(f"resize is {resize!r}, expected {' or '.join(RESIZES)}.")
    return replace(card, resize=resize)


def cache_folder() -> Path:
    """Return the cache of converted models: $LOOKONCE_CACHE, or the user's cache folder."""
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
    try:
        network, card = open_model(path)
    except MissingKerasError as error:
        raise LookonceError(
            f"{path}: needs Keras for its first conversion: pip install 'lookonce[tensorflow]'. "
            "Or export it where Keras is installed: lookonce export MODEL --format onnx."
        ) from error
    from lookonce.models.keras import to_darknet

    cfg = parse_cfg(card.cfg, f"{path}, its cfg")
    graph = _converted(cfg, to_darknet(network, cfg), card)
    _keep(kept, graph)
    return graph


def _converted(cfg: Cfg, weights: DarknetWeights, card: ModelCard) -> bytes:
    from lookonce.models.onnx import network_graph

    graph = network_graph(cfg, weights.layers, card.input_size)
    write_graph_card(graph, card)
    return bytes(graph.SerializeToString())


def _keep(kept: Path, graph: bytes) -> None:
    """Add a converted model to the cache; an unwritable folder is ignored."""
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
            raise LookonceError(
                f"{path}: {size:,} bytes, too large for a model; expected at most {_MOST_BYTES:,}."
            )
        return path.read_bytes()
    except OSError as error:
        raise LookonceError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _read_pair(path: Path, weights: str | Path | None) -> tuple[Cfg, DarknetWeights, ModelCard]:
    """Read a cfg, its complete weights, and a card with classes class_0, class_1, ..."""
    _must_exist(path)
    if weights is None:
        raise LookonceError(f"{path}: a cfg alone is not a model. Give its weights file too.")
    _must_exist(Path(weights))
    cfg = read_cfg(path)
    found = read_weights(weights, cfg)
    if not found.complete:
        raise LookonceError(
            f"{weights}: ends after layer {max(found.layers, default=-1)}: enough to start training, "
            f"but {path} needs all layers. Give the complete .weights file."
        )
    letter_box = cfg.net.integer("letter_box", 1)
    card = ModelCard(
        name=path.stem,
        classes=tuple(f"class_{index}" for index in range(_class_count(cfg, path))),
        input_size=cfg.input_size,
        resize="letterbox" if letter_box else "stretch",
        cfg=cfg.text,
        # The date of the file: the same pair is the same model whenever it is opened.
        created=datetime.fromtimestamp(Path(weights).stat().st_mtime, UTC).isoformat(timespec="seconds"),
        lookonce=__version__,
    )
    return cfg, found, card


def _refuse_misfits(path: Path, weights: str | Path | None) -> None:
    """Raise LookonceError for a weights file as the model, and for weights with a file that has its own."""
    if path.suffix == ".weights":
        raise LookonceError(
            f"{path}: weights alone are not a model. Give the .cfg, and this file as its weights."
        )
    if path.suffix != ".cfg" and weights is not None:
        raise LookonceError(f"{path}: contains its weights; a weights file goes with a .cfg only.")


def _must_exist(path: Path) -> None:
    """Raise LookonceError unless `path` is a file."""
    if not path.exists():
        raise LookonceError(f"{path}: no such file. Check the path.")
    if path.is_dir():
        raise LookonceError(f"{path}: is a folder; expected a file.")


def _class_count(cfg: Cfg, path: Path) -> int:
    counts = {head.classes for head in cfg.heads}
    if len(counts) != 1:
        found = ", ".join(map(str, sorted(counts))) or "none"
        raise LookonceError(f"{path}: all [yolo] sections must have the same classes=; found {found}.")
    return counts.pop()


def _read_names(classes: str | Path, expected: int, model: Path) -> tuple[str, ...]:
    # Imported here: a model with its own names needs no label formats.
    from lookonce.labels import read_classes

    _must_exist(Path(classes))
    names = read_classes(Path(classes))
    if len(names) != expected:
        raise LookonceError(
            f"{classes}: {len(names)} class names, but {model} has {expected} classes. "
            "Give the names that it was trained with."
        )
    return tuple(names)
