"""The model card in an ONNX graph's metadata."""

from __future__ import annotations

import onnx

from lookonce.core.model_card import CARD_KEY, ModelCard


def write_card(graph: onnx.ModelProto, card: ModelCard) -> None:
    """Put `card` into the graph's metadata."""
    entries = {entry.key: entry.value for entry in graph.metadata_props}
    onnx.helper.set_model_props(graph, {**entries, CARD_KEY: card.to_json()})


def metadata_of(content: bytes) -> dict[str, str]:
    """The metadata of an ONNX file's content. Raises google.protobuf's DecodeError for anything else."""
    return {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}
