"""Building a Keras model of standard layers from a Darknet cfg.

Every Keras layer has the number of its cfg layer in its name: `conv_012`, `norm_012`, `act_012`, `pool_003`.
Weights are exchanged with Darknet, and layers frozen, by that number. There are no custom classes, so plain
`keras.saving.load_model` opens a saved model without lookonce.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import layers

from lookonce.darknet import LEAKY_SLOPE, NORM_EPSILON, Cfg, Layer, plan

# Keras names of Darknet's activations, without leaky, whose slope differs from Keras' default.
ACTIVATIONS = {
    "linear": "linear",
    "logistic": "sigmoid",
    "mish": "mish",
    "swish": "silu",
    "relu": "relu",
    "relu6": "relu6",
    "elu": "elu",
    "selu": "selu",
    "tanh": "tanh",
}
NORM_MOMENTUM = 0.99
# About one prediction in a hundred is an object: Lin et al. 2017 (Focal Loss), section 4.1.
OBJECT_PRIOR = 0.01


def build(cfg: Cfg, input_size: tuple[int, int] | None = None) -> keras.Model:
    """Build a functional Keras model of a cfg.

    The input `image` is (batch, height, width, 3), float, 0..1, RGB. The outputs are the raw heads in cfg
    order, each (batch, grid_h, grid_w, anchors * (5 + classes)): the input of each `[yolo]`, after the
    activation of its convolution. Without `[yolo]` the last layer is the output. `model.outputs` is always a
    list, but calling a model of one head returns a single tensor, as Keras does.

    Args:
        cfg: the network.
        input_size: (height, width) in pixels; None takes the cfg's.

    Raises:
        CfgError: a layer or option that is not supported, with its line.
    """
    size = input_size or cfg.input_size
    image = keras.Input((*size, cfg.net.integer("channels", 3)), name="image")
    tensors: list[Any] = []
    heads = []
    for layer in plan(cfg, size):
        inputs = [image if index < 0 else tensors[index] for index in layer.inputs]
        if layer.kind == "yolo":
            heads.append(inputs[0])
        tensors.append(_apply(layer, inputs))
        _check_shape(layer, tensors[-1])
    return keras.Model(image, heads or [tensors[-1]], name="darknet")


def start_heads(model: keras.Model, cfg: Cfg, prior: float = OBJECT_PRIOR) -> None:
    """Set the bias of each head's objectness to the logit of `prior`, in place.

    With a bias of 0 every prediction starts as an object, and hundreds of steps through all layers are spent
    on unlearning that.
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


def _apply(layer: Layer, inputs: list[Any]) -> Any:
    kind, number = layer.kind, f"{layer.index:03d}"
    match kind:
        case "convolutional":
            return _convolution(layer, inputs[0])
        case "maxpool":
            return _max_pool(layer, inputs[0])
        case "upsample":
            tensor = layers.UpSampling2D(layer.strides[0], interpolation="nearest", name=f"up_{number}")(
                inputs[0]
            )
            factor = layer.section.number("scale", 1.0)
            return tensor if factor == 1 else layers.Rescaling(factor, name=f"scale_{number}")(tensor)
        case "route":
            return _route(layer, inputs)
        case "shortcut":
            return _shortcut(layer, inputs)
        case "dropout":
            rate = layer.section.number("probability", 0.5)
            return layers.Dropout(rate, name=f"drop_{number}")(inputs[0])
        case "yolo":
            return inputs[0]
    raise layer.section.error("is not supported in Keras")


def _convolution(layer: Layer, tensor: Any) -> Any:
    """Apply convolution, batch norm and activation, with equal padding (`make_convolutional_layer`)."""
    assert layer.conv is not None
    conv, section, number = layer.conv, layer.section, f"{layer.index:03d}"
    stride_y, stride_x = layer.strides
    padding = layer.padding
    same = padding * 2 == conv.size - 1 and stride_y == stride_x == 1
    if padding and not same:
        tensor = layers.ZeroPadding2D(padding, name=f"pad_{number}")(tensor)
    activation = section.text("activation", "logistic")
    is_head = not conv.batch_normalize and activation == "logistic"
    options = {
        "kernel_size": conv.size,
        "strides": (stride_y, stride_x),
        "padding": "same" if same else "valid",
        "use_bias": not conv.batch_normalize,
        "activation": "sigmoid" if is_head else None,
        "name": f"conv_{number}",
    }
    if conv.groups > 1 and conv.in_per_group == 1:
        tensor = layers.DepthwiseConv2D(depth_multiplier=conv.filters // conv.groups, **options)(tensor)
    else:
        tensor = layers.Conv2D(conv.filters, groups=conv.groups, **options)(tensor)
    if conv.batch_normalize:
        norm = layers.BatchNormalization(epsilon=NORM_EPSILON, momentum=NORM_MOMENTUM, name=f"norm_{number}")
        tensor = norm(tensor)
    return tensor if is_head else _activate(layer, activation, tensor)


def _activate(layer: Layer, name: str, tensor: Any) -> Any:
    label = f"act_{layer.index:03d}"
    if name == "linear":
        return tensor
    if name == "leaky":
        return layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=label)(tensor)
    if name not in ACTIVATIONS:
        known = ", ".join(["leaky", *ACTIVATIONS])
        raise layer.section.error(f"has activation={name}; expected one of {known}", "activation")
    return layers.Activation(ACTIVATIONS[name], name=label)(tensor)


def _max_pool(layer: Layer, tensor: Any) -> Any:
    """Apply `[maxpool]` as Darknet's `forward_maxpool_layer`: windows start at -(padding // 2).

    Padding is minus infinity. Keras' 'same' and 'valid' serve where they give the same windows; otherwise a
    stride-1 pool is sampled at Darknet's positions.
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
    """Return the output length and the cells padded before the first, of 'same' pooling along one axis."""
    out = -(-length // stride)
    return out, max((out - 1) * stride + size - length, 0) // 2


def _route(layer: Layer, inputs: list[Any]) -> Any:
    """Concatenate the channel groups that `groups` and `group_id` select (`forward_route_layer`)."""
    groups, group = layer.section.integer("groups", 1), layer.section.integer("group_id", 0)
    number = f"{layer.index:03d}"
    if groups > 1:
        inputs = [
            _channels(
                tensor,
                group * (tensor.shape[-1] // groups),
                tensor.shape[-1] // groups,
                f"slice_{number}_{i}",
            )
            for i, tensor in enumerate(inputs)
        ]
    return inputs[0] if len(inputs) == 1 else layers.Concatenate(name=f"route_{number}")(inputs)


def _shortcut(layer: Layer, inputs: list[Any]) -> Any:
    """Add to the previous layer, then activate; of unequal channels only the overlap is added."""
    number = f"{layer.index:03d}"
    if layer.section.text("weights_type", "none") != "none":
        raise layer.section.error(
            "has learned weights, which are not supported; expected weights_type=none", "weights_type"
        )
    aligned = [inputs[0]]
    for i, tensor in enumerate(inputs[1:]):
        missing = layer.channels - tensor.shape[-1]
        if missing < 0:
            tensor = _channels(tensor, 0, layer.channels, f"slice_{number}_{i}")
        elif missing > 0:
            # As channels-first, the layer pads the last two axes: width and channels in NHWC.
            pad = layers.ZeroPadding2D(((0, 0), (0, missing)), "channels_first", name=f"widen_{number}_{i}")
            tensor = pad(tensor)
        aligned.append(tensor)
    total = layers.Add(name=f"shortcut_{number}")(aligned)
    return _activate(layer, layer.section.text("activation", "linear"), total)


def _channels(tensor: Any, start: int, count: int, name: str) -> Any:
    """Slice channels `start` to `start + count`: as channels-first, cropping acts on (width, channels)."""
    crop = ((0, 0), (start, tensor.shape[-1] - start - count))
    return layers.Cropping2D(crop, data_format="channels_first", name=name)(tensor)


def _check_shape(layer: Layer, tensor: Any) -> None:
    expected = (layer.height, layer.width, layer.channels)
    if layer.kind != "yolo" and tuple(tensor.shape[1:]) != expected:
        found = "x".join(map(str, tensor.shape[1:]))
        raise layer.section.error(
            f"has options that give {found}, but Darknet has {'x'.join(map(str, expected))}"
        )
