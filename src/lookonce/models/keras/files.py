"""Keras networks in .keras files, with the model card inside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras

from lookonce._version import __version__
from lookonce.core.model_card import CARD_KEY, ModelCard
from lookonce.errors import LookonceError
from lookonce.io.atomic import atomic_file
from lookonce.models.cards import open_archive, read_card, write_archive_card


def save_model(path: str | Path, model: keras.Model, card: ModelCard) -> None:
    """Write a model and its card to `path` (NAME.keras) atomically.

    Only the network is saved, without optimizer or loss, so that plain `keras.saving.load_model` opens it.

    Raises:
        LookonceError: another suffix, or the file cannot be written; an existing file is then unchanged.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise LookonceError(f"{path}: a model's file name must end with .keras.")
    plain = keras.Model(model.input, model.output, name=model.name)
    card = replace(card, lookonce=card.lookonce or __version__)
    with atomic_file(path) as temporary:
        plain.save(temporary)
        write_archive_card(temporary, card)


def load_archive(path: Path) -> tuple[keras.Model, ModelCard]:
    """Load the network and card of a `.keras` file; callers use `lookonce.models.open`.

    Raises LookonceError for a damaged file, one that is not a model, one without `lookonce.json`.
    """
    with open_archive(path) as archive:
        names = archive.namelist()
    if "config.json" not in names or "model.weights.h5" not in names:
        raise LookonceError(
            f"{path}: not a model: a zip file without a Keras network. Expected a .keras file."
        )
    card = read_card(path)
    if card is None:
        raise LookonceError(
            f"{path}: a Keras model without {CARD_KEY} (classes, anchors, input size). "
            "Give a file that lookonce saved, or a Darknet .cfg with weights and class names."
        )
    try:
        return keras.saving.load_model(path, compile=False), card
    # Keras, h5py and the backend raise errors of any class for a damaged network.
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise LookonceError(
            f"{path}: Keras cannot open it ({first}). Save or download the model again."
        ) from error
