"""Exchange of weights between Darknet's arrays and a Keras model, by cfg layer number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from lookonce.darknet import Cfg, ConvWeights, DarknetWeights, Header, plan
from lookonce.errors import LookonceError

_NUMBERED = re.compile(r"[a-z]+_(\d{3,})(?:_\d+)?")


def layers_of(model: keras.Model, indices: int | Iterable[int]) -> tuple[keras.layers.Layer, ...]:
    """Return the Keras layers of the cfg layers `indices`, for example to freeze them.

    Empty for `[yolo]` and for a route of a single layer.
    """
    chosen = {indices} if isinstance(indices, int) else set(indices)
    found = []
    for layer in model.layers:
        match = _NUMBERED.fullmatch(layer.name)
        if match and int(match[1]) in chosen:
            found.append(layer)
    return tuple(found)


def load_darknet(model: keras.Model, layers: Mapping[int, ConvWeights]) -> None:
    """Set the weights of the convolutions in `layers`; others are unchanged.

    Kernels are Darknet's (out, in / groups, height, width). All shapes are checked before anything is set.
    Raises LookonceError for a layer that the model does not have, or a different shape.
    """
    named = {layer.name: layer for layer in model.layers}
    assignments: list[tuple[Any, list[np.ndarray]]] = []
    for index, weights in layers.items():
        conv, norm = named.get(f"conv_{index:03d}"), named.get(f"norm_{index:03d}")
        if conv is None:
            raise LookonceError(
                f"Weights for layer {index}, but the model has no convolution there. Check the cfg."
            )
        if (norm is None) != (weights.scale is None):
            has = "with" if norm is not None else "without"
            raise LookonceError(
                f"Layer {index} of the model is {has} batch norm, but its weights are not. Check the cfg."
            )
        kernel = _to_keras(conv, weights.kernel)
        if norm is None:
            assignments.append((conv, [kernel, weights.bias]))
        else:
            assignments.append((conv, [kernel]))
            assert weights.scale is not None
            assert weights.mean is not None
            assert weights.variance is not None
            assignments.append((norm, [weights.scale, weights.bias, weights.mean, weights.variance]))
    for layer, arrays in assignments:
        for variable, array in zip(_variables(layer), arrays, strict=True):
            if tuple(variable.shape) != array.shape:
                raise LookonceError(
                    f"{layer.name}: the model's {variable.name} is {tuple(variable.shape)}, the weights have "
                    f"{array.shape}. The weights belong to another cfg."
                )
    for layer, arrays in assignments:
        for variable, array in zip(_variables(layer), arrays, strict=True):
            variable.assign(array)


def to_darknet(model: keras.Model, cfg: Cfg, header: Header | None = None) -> DarknetWeights:
    """Return all convolutions of `model` as Darknet weights: the inverse of `load_darknet`."""
    named = {layer.name: layer for layer in model.layers}
    found = {}
    for layer in plan(cfg):
        if layer.conv is None:
            continue
        conv, norm = named.get(f"conv_{layer.index:03d}"), named.get(f"norm_{layer.index:03d}")
        if conv is None:
            raise LookonceError(
                f"The model has no conv_{layer.index:03d}, which {cfg.source} requires. Check the cfg."
            )
        kernel, *bias = [_numpy(variable) for variable in _variables(conv)]
        kernel = _to_darknet(conv, kernel)
        if norm is None:
            found[layer.index] = ConvWeights(
                bias=bias[0], kernel=kernel, scale=None, mean=None, variance=None
            )
        else:
            scale, beta, mean, variance = [_numpy(variable) for variable in _variables(norm)]
            found[layer.index] = ConvWeights(
                bias=beta, kernel=kernel, scale=scale, mean=mean, variance=variance
            )
    return DarknetWeights(header=header or Header(), layers=found, complete=True)


def _variables(layer: Any) -> list[Any]:
    if isinstance(layer, keras.layers.BatchNormalization):
        return [layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance]
    return [layer.kernel, layer.bias] if layer.use_bias else [layer.kernel]


def _to_keras(conv: Any, kernel: np.ndarray) -> np.ndarray:
    """Transpose to (h, w, in / groups, out), or (h, w, channels, multiplier) of a depthwise convolution."""
    if isinstance(conv, keras.layers.DepthwiseConv2D):
        kernel = kernel.reshape(-1, conv.depth_multiplier, *kernel.shape[2:])
        return kernel.transpose(2, 3, 0, 1)
    return kernel.transpose(2, 3, 1, 0)


def _to_darknet(conv: Any, kernel: np.ndarray) -> np.ndarray:
    if isinstance(conv, keras.layers.DepthwiseConv2D):
        height, width, channels, multiplier = kernel.shape
        kernel = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    else:
        kernel = kernel.transpose(3, 2, 0, 1)
    return np.ascontiguousarray(kernel)


def _numpy(variable: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(variable.value), np.float32)
