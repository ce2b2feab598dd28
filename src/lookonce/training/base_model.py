"""The model that training starts from: its cfg, and pretrained weights that fit the new network."""

from __future__ import annotations

from pathlib import Path

import keras

from lookonce.darknet import (
    NAMES,
    Cfg,
    DarknetWeights,
    Transplant,
    parse_cfg,
    published,
    read_cfg,
    read_weights,
    transplant,
)
from lookonce.errors import LookonceError
from lookonce.models.keras import load_darknet, to_darknet
from lookonce.models.open import open_model


def base_cfg(model: str) -> Cfg:
    """Return the cfg of a name of the zoo, or of a Darknet cfg file."""
    if model in NAMES:
        return published(model)
    path = Path(model)
    if path.suffix == ".cfg":
        return read_cfg(path)
    raise LookonceError(f"model is {model!r}; expected one of {', '.join(NAMES)}, or a Darknet .cfg file.")


def read_pretrained(
    weights: str | Path, weights_cfg: str | Path | None, base: Cfg
) -> tuple[DarknetWeights, Cfg]:
    """Read pretrained weights, with the cfg that they belong to.

    A `.keras` model brings its own; a Darknet file is read with `weights_cfg`, else with the cfg of the
    published base model: never with the new model's, whose heads would shift all that follows them.
    """
    if Path(weights).suffix == ".keras":
        network, card = open_model(weights)
        own = parse_cfg(card.cfg, str(weights))
        return to_darknet(network, own), own
    own = read_cfg(Path(weights_cfg)) if weights_cfg else base
    return read_weights(Path(weights), own), own


def start_from(pretrained: tuple[DarknetWeights, Cfg], cfg: Cfg, network: keras.Model) -> Transplant:
    """Load every pretrained layer that fits into `network`; return what was taken, layer by layer."""
    result = transplant(*pretrained, cfg)
    load_darknet(network, result.layers)
    return result
