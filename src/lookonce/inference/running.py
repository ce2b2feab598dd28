"""A model opened and its engine started."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lookonce.core.model_card import ModelCard
from lookonce.inference.engines import Engine, start_engine
from lookonce.models.cards import card_from_metadata
from lookonce.models.open import open_graph, open_model, override_card


class RunningModel(NamedTuple):
    """A started engine, the card of the model that it runs, and the model's name for errors."""

    engine: Engine
    card: ModelCard
    source: str


def start_model(
    path: Path,
    weights: str | Path | None,
    classes: str | Path | None,
    resize: str | None,
    engine: str,
    device: str,
    threads: int,
) -> RunningModel:
    """Open MODEL and start `engine` on it; arguments as of Detector. Raises LookonceError."""
    if engine == "keras":
        network, card = open_model(path, weights, classes, resize)
        from lookonce.inference.keras_engine import KerasEngine

        return RunningModel(KerasEngine(network, card.input_size), card, str(path))
    started = start_engine(open_graph(path, weights), engine, device, threads, str(path))
    card = override_card(card_from_metadata(started.metadata, str(path)), path, classes, resize)
    return RunningModel(started, card, str(path))
