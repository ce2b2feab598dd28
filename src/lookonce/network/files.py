"""A model as one file, a Keras archive with `lookonce.json` inside; or a Darknet cfg and its weights."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import keras

from lookonce import __version__
from lookonce.atomic import atomic_file
from lookonce.boxes import RESIZES
from lookonce.darknet import Cfg, read_cfg, read_weights
from lookonce.errors import LookonceError
from lookonce.model_card import ModelCard
from lookonce.network.build import build
from lookonce.network.weights import load_darknet

CARD_ENTRY = "lookonce.json"


def save_model(path: str | Path, model: keras.Model, card: ModelCard) -> None:
    """Write `model` and `card` to `path` (NAME.keras), whole or not at all.

    An older file stays until the new one is safe on disk. Only the network is kept, no optimizer or loss,
    so that plain `keras.saving.load_model` opens it anywhere.
    Raises LookonceError when the file can't be written.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise LookonceError(f"{path}: a model's file name must end with .keras.")
    plain = keras.Model(model.input, model.output, name=model.name)
    card = replace(card, lookonce=card.lookonce or __version__)
    with atomic_file(path) as temporary:
        plain.save(temporary)
        with zipfile.ZipFile(temporary, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(CARD_ENTRY, card.to_json())


def load_model(path: str | Path) -> tuple[keras.Model, ModelCard]:
    """The model and card of a `.keras` file written by lookonce.

    Raises LookonceError for a missing or damaged file, one that isn't a model, one without `lookonce.json`.
    """
    path = Path(path)
    _must_exist(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            text = archive.read(CARD_ENTRY).decode() if CARD_ENTRY in names else None
    except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError) as error:
        raise LookonceError(
            f"{path}: not a model, or a damaged one ({error}). Expected a .keras file."
        ) from error
    except OSError as error:
        raise LookonceError(f"{path}: can't be read: {error.strerror or error}.") from error
    if "config.json" not in names or "model.weights.h5" not in names:
        raise LookonceError(
            f"{path}: not a model: this zip file holds no Keras network. Expected a .keras file."
        )
    if text is None:
        raise LookonceError(
            f"{path}: a Keras model without {CARD_ENTRY} (classes, anchors, input size). "
            "Give a file that lookonce saved, or the .cfg with --weights and --classes."
        )
    card = ModelCard.from_json(text, str(path))
    try:
        return keras.saving.load_model(path, compile=False), card
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        first = str(error).strip().partition("\n")[0]
        raise LookonceError(
            f"{path}: Keras can't open it ({first}). Save or download the model again."
        ) from error


def open_model(
    path: str | Path,
    weights: str | Path | None = None,
    classes: str | Path | None = None,
    resize: str | None = None,
) -> tuple[keras.Model, ModelCard]:
    """The model and card of MODEL: a `.keras` file, or a Darknet `.cfg` with its `weights`.

    `classes` is a file with one name a line; a cfg without it gets class_0, class_1, ... `resize` is
    'letterbox' or 'stretch'; None takes the card's, or the cfg's `letter_box`, else letterbox.
    Raises LookonceError.
    """
    path = Path(path)
    if resize is not None and resize not in RESIZES:
        raise LookonceError(f"resize is {resize!r}, expected {' or '.join(RESIZES)}.")
    if path.suffix == ".cfg":
        model, card = _open_darknet(path, weights)
    elif path.suffix == ".weights":
        raise LookonceError(
            f"{path}: weights alone aren't a model. Give the .cfg, and this file with --weights."
        )
    else:
        if weights is not None:
            raise LookonceError(
                f"{path}: holds its own weights; --weights goes with a .cfg only. Leave it out."
            )
        model, card = load_model(path)
    if classes is not None:
        card = replace(card, classes=_read_names(classes, len(card.classes), path))
    return model, card if resize is None else replace(card, resize=resize)


def _open_darknet(path: Path, weights: str | Path | None) -> tuple[keras.Model, ModelCard]:
    _must_exist(path)
    if weights is None:
        raise LookonceError(f"{path}: a cfg alone isn't a model. Give its weights with --weights FILE.")
    _must_exist(Path(weights))
    cfg = read_cfg(path)
    found = read_weights(weights, cfg)
    if not found.complete:
        raise LookonceError(
            f"{weights}: ends after layer {max(found.layers, default=-1)}: good to start a training from, "
            f"but {path} needs all its layers. Give the complete .weights file."
        )
    model = build(cfg)
    load_darknet(model, found.layers)
    letter_box = cfg.net.integer("letter_box", 1)
    card = ModelCard(
        name=path.stem,
        classes=tuple(f"class_{index}" for index in range(_class_count(cfg, path))),
        input_size=cfg.input_size,
        resize="letterbox" if letter_box else "stretch",
        cfg=cfg.text,
        lookonce=__version__,
    )
    return model, card


def _class_count(cfg: Cfg, path: Path) -> int:
    counts = {head.classes for head in cfg.heads}
    if len(counts) != 1:
        found = ", ".join(map(str, sorted(counts))) or "none"
        raise LookonceError(f"{path}: its [yolo] sections must all have the same classes=, found {found}.")
    return counts.pop()


def _read_names(classes: str | Path, expected: int, model: Path) -> tuple[str, ...]:
    # Here, not above: a model with its own names needs none of the label formats.
    from lookonce.labels import read_classes

    _must_exist(Path(classes))
    names = read_classes(Path(classes))
    if len(names) != expected:
        raise LookonceError(
            f"{classes}: {len(names)} class names, but {model} has {expected} classes. "
            "Give the names it was trained with."
        )
    return tuple(names)


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise LookonceError(f"{path}: no such file. Check the path.")
    if path.is_dir():
        raise LookonceError(f"{path}: a folder, expected a file.")
