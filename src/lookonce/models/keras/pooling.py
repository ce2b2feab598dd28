"""Darknet's max pooling in Keras' terms."""

from __future__ import annotations

from typing import Any

from keras import layers

from lookonce.darknet import Layer


def max_pool(layer: Layer, tensor: Any) -> Any:
    """One `[maxpool]` as Darknet's `forward_maxpool_layer`: windows start at -(padding // 2).

    Outside the tensor is minus infinity. Keras' 'same' and 'valid' serve where they give the same windows;
    else the stride-1 pool, whose windows are all there are, is taken at Darknet's places.
    """
    section, number = layer.section, f"{layer.index:03d}"
    strides = layer.strides
    size = section.integer("size", section.integer("stride", 1))
    left = layer.padding // 2
    inside, outside = tuple(tensor.shape[1:3]), (layer.height, layer.width)
    axes = list(zip(inside, outside, strides, strict=True))
    if all(_same_pads(n, step, size) == (out, left) for n, out, step in axes):
        return layers.MaxPooling2D(size, strides, "same", name=f"pool_{number}")(tensor)
    if left == 0 and all((n - size) // step + 1 == out for n, out, step in axes):
        return layers.MaxPooling2D(size, strides, "valid", name=f"pool_{number}")(tensor)
    dense = layers.MaxPooling2D(size, 1, "same", name=f"pool_{number}")(tensor)
    first = (size - 1) // 2 - left
    crops = [(first, n - first - ((out - 1) * step + 1)) for n, out, step in axes]
    if any(side for crop in crops for side in crop):
        dense = layers.Cropping2D(tuple(crops), name=f"crop_{number}")(dense)
    if strides == (1, 1):
        return dense
    return layers.MaxPooling2D(1, strides, "valid", name=f"stride_{number}")(dense)


def _same_pads(length: int, stride: int, size: int) -> tuple[int, int]:
    """What 'same' pooling does along one axis: the output's length, and the cells padded before the first."""
    out = -(-length // stride)
    return out, max((out - 1) * stride + size - length, 0) // 2
