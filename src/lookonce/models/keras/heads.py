"""How a new head starts."""

from __future__ import annotations

import math

import keras
import numpy as np

from lookonce.darknet import Cfg, plan

# Of a thousand predictions about ten hold an object: Lin et al. 2017 (Focal Loss), section 4.1.
OBJECT_PRIOR = 0.01


def start_heads(model: keras.Model, cfg: Cfg, prior: float = OBJECT_PRIOR) -> None:
    """Give each head's objectness the bias of `prior`, in place; everything else stays.

    From a bias of 0 every one of a thousand predictions claims an object to begin with, and the first
    hundreds of steps go into unlearning that, through all layers.
    """
    named = {layer.name: layer for layer in model.layers}
    sources = {layer.index: layer.inputs[0] for layer in plan(cfg) if layer.kind == "yolo"}
    for head in cfg.heads:
        convolution = named.get(f"conv_{sources[head.layer]:03d}")
        if convolution is None:
            continue
        bias = np.array(keras.ops.convert_to_numpy(convolution.bias))
        bias.reshape(len(head.mask), 5 + head.classes)[:, 4] = math.log(prior / (1 - prior))
        convolution.bias.assign(bias)
