"""The model card inside an ONNX file, in its metadata."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from lookonce.errors import LookonceError
from lookonce.model_card import ModelCard

CARD_KEY = "lookonce.json"


def write_card(graph: onnx.ModelProto, card: ModelCard, **more: str) -> None:
    """Put `card` into the graph's metadata, and whatever else is told of it."""
    onnx.helper.set_model_props(graph, {CARD_KEY: card.to_json(), **more})


def read_card(metadata: Mapping[str, str], source: str) -> ModelCard:
    """The card in an ONNX file's metadata; `source` names the file in errors. Raises LookonceError."""
    if CARD_KEY not in metadata:
        raise LookonceError(
            f"{source}: an ONNX file without {CARD_KEY} in its metadata (classes, anchors, input size). "
            "Give a file that `lookonce export` wrote."
        )
    return ModelCard.from_json(metadata[CARD_KEY], source)
