"""A model as one file, a Keras archive with `lookonce.json` inside; or a Darknet cfg and its weights."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import keras

from lookonce._version import __version__
from lookonce.core.model_card import CARD_KEY, ModelCard
from lookonce.errors import LookonceError
from lookonce.io.atomic import atomic_file
from lookonce.models.darknet_pair import adjusted, must_exist, read_pair, refuse_misfits
from lookonce.models.keras.build import build
from lookonce.models.keras.variables import load_darknet

# Eight times yolov4's weights; of a small file that unpacks to more, nothing good can come.
_MOST_BYTES = 2**31


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
            archive.writestr(CARD_KEY, card.to_json())


def load_model(path: str | Path) -> tuple[keras.Model, ModelCard]:
    """The model and card of a `.keras` file written by lookonce.

    Raises LookonceError for a missing or damaged file, one that isn't a model, one without `lookonce.json`.
    """
    path = Path(path)
    must_exist(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            # Read before unpacking: a few kilobytes can claim, and hold, any size.
            size = sum(entry.file_size for entry in archive.infolist())
            if size > _MOST_BYTES:
                raise LookonceError(
                    f"{path}: unpacks to {size:,} bytes; expected at most {_MOST_BYTES:,}. Not a model."
                )
            text = archive.read(CARD_KEY).decode() if CARD_KEY in names else None
    # The last three: a cut entry, an unknown compression, and one that asks for a password.
    except (
        zipfile.BadZipFile,
        zlib.error,
        UnicodeDecodeError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
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
            f"{path}: a Keras model without {CARD_KEY} (classes, anchors, input size). "
            "Give a file that lookonce saved, or the .cfg with --weights and --classes."
        )
    card = ModelCard.from_json(text, str(path))
    try:
        return keras.saving.load_model(path, compile=False), card
    # Keras, h5py and the backend raise errors of any class for a damaged network.
    except Exception as error:
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
    refuse_misfits(path, weights)
    if path.suffix == ".cfg":
        cfg, found, card = read_pair(path, weights)
        model = build(cfg)
        load_darknet(model, found.layers)
    else:
        model, card = load_model(path)
    return model, adjusted(card, path, classes, resize)
