"""Building an ONNX graph of a Darknet cfg and its weights; batch norm is folded into the convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from lookonce._version import __version__
from lookonce.darknet import LEAKY_SLOPE, NORM_EPSILON, Cfg, ConvWeights, Layer, plan

# The newest opset that OpenCV 4 and all current runtimes import completely.
OPSET = 17
IR_VERSION = 8
INPUT = "image"

_ACTIVATIONS = {"logistic": "Sigmoid", "relu": "Relu", "elu": "Elu", "selu": "Selu", "tanh": "Tanh"}


@dataclass
class Parts:
    """Nodes and constants of a graph under construction."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: ArrayLike) -> str:
        """Append a constant and return its name."""
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name


def network_graph(
    cfg: Cfg,
    weights: Mapping[int, ConvWeights],
    input_size: tuple[int, int] | None = None,
) -> onnx.ModelProto:
    """Build the raw network.

    The input `image` is float32 (batch, 3, height, width), RGB, 0..1, with any batch size. The outputs
    `head_<layer>` are (batch, anchors * (5 + classes), grid height, grid width), in cfg order: the input of
    each `[yolo]`.

    Args:
        cfg: the network.
        weights: complete weights by layer index, as from `read_weights`.
        input_size: (height, width) in pixels; None takes the cfg's.

    Raises:
        CfgError: a layer or option that is not supported, with its line.
    """
    size = input_size or cfg.input_size
    parts = Parts()
    names: list[str] = []
    heads: list[Layer] = []
    layers, channels = plan(cfg, size), cfg.net.integer("channels", 3)
    for layer in layers:
        inputs = [INPUT if index < 0 else names[index] for index in layer.inputs]
        if layer.kind == "yolo":
            heads.append(layer)
        depths = [layers[index].channels if index >= 0 else channels for index in layer.inputs]
        names.append(_add_layer(parts, layer, inputs, depths, weights))
    outputs = [
        _output(parts, f"head_{layer.index}", names[layer.index], layer) for layer in heads or layers[-1:]
    ]
    image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", channels, *size])
    graph = helper.make_graph(parts.nodes, "darknet", [image], outputs, parts.constants)
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lookonce",
        producer_version=__version__,
    )


def with_free_size(raw: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a raw network for any height and width that are multiples of its stride."""
    model = onnx.ModelProto()
    model.CopyFrom(raw)
    for value in (*model.graph.input, *model.graph.output):
        for side, name in zip(value.type.tensor_type.shape.dim[2:], ("height", "width"), strict=True):
            side.dim_param = name if value.name == INPUT else f"{value.name}_{name}"
    return model


def _output(parts: Parts, name: str, source: str, layer: Layer) -> onnx.ValueInfoProto:
    # A separate name: two heads may share a source, and a source may feed other layers.
    parts.add("Identity", [source], name)
    shape: list[str | int | None] = ["batch", layer.channels, layer.height, layer.width]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _add_layer(
    parts: Parts, layer: Layer, inputs: list[str], depths: list[int], weights: Mapping[int, ConvWeights]
) -> str:
    """Add the nodes of one cfg layer and return the output's name; `depths` are its inputs' channels."""
    name = f"{layer.kind}_{layer.index:03d}"
    match layer.kind:
        case "convolutional":
            return _convolution(parts, layer, inputs[0], weights[layer.index], name)
        case "maxpool":
            return _max_pool(parts, layer, inputs[0], name)
        case "upsample":
            return _upsample(parts, layer, inputs[0], name)
        case "route":
            return _route(parts, layer, inputs, depths, name)
        case "shortcut":
            return _shortcut(parts, layer, inputs, depths, name)
        case "dropout" | "yolo":
            return inputs[0]
    raise layer.section.error("is not supported in ONNX")


def _convolution(parts: Parts, layer: Layer, source: str, weights: ConvWeights, name: str) -> str:
    assert layer.conv is not None
    kernel, bias = _folded(weights)
    inputs = [
        source,
        parts.constant(f"{name}_kernel", kernel),
        parts.constant(f"{name}_bias", bias),
    ]
    summed = parts.add(
        "Conv",
        inputs,
        f"{name}_sum",
        kernel_shape=[layer.conv.size] * 2,
        strides=list(layer.strides),
        pads=[layer.padding] * 4,
        group=layer.conv.groups,
    )
    return _activate(parts, layer, layer.section.text("activation", "logistic"), summed, name)


def _folded(weights: ConvWeights) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fold batch norm into kernel and bias, in double precision."""
    if weights.scale is None or weights.mean is None or weights.variance is None:
        return weights.kernel, weights.bias
    factor = weights.scale / np.sqrt(weights.variance.astype(np.float64) + NORM_EPSILON)
    kernel = weights.kernel * factor[:, None, None, None]
    return kernel.astype(np.float32), (weights.bias - weights.mean * factor).astype(np.float32)


def _activate(parts: Parts, layer: Layer, activation: str, source: str, name: str) -> str:
    if activation == "linear":
        return source
    if activation == "leaky":
        return parts.add("LeakyRelu", [source], name, alpha=LEAKY_SLOPE)
    if activation == "swish":
        return parts.add("Mul", [source, parts.add("Sigmoid", [source], f"{name}_gate")], name)
    if activation == "mish":
        soft = parts.add("Softplus", [source], f"{name}_softplus")
        return parts.add("Mul", [source, parts.add("Tanh", [soft], f"{name}_gate")], name)
    if activation == "relu6":
        bounds = [
            parts.constant(f"{name}_least", np.float32(0)),
            parts.constant(f"{name}_most", np.float32(6)),
        ]
        return parts.add("Clip", [source, *bounds], name)
    if activation not in _ACTIVATIONS:
        raise layer.section.error(
            f"has activation={activation}, which is not supported in ONNX", "activation"
        )
    return parts.add(_ACTIVATIONS[activation], [source], name)


def _max_pool(parts: Parts, layer: Layer, source: str, name: str) -> str:
    # Darknet's `padding` is the sum of both sides; half of it, rounded down, comes first.
    size, before = layer.section.integer("size", layer.strides[0]), layer.padding // 2
    after = layer.padding - before
    pads = [before, before, after, after]
    return parts.add(
        "MaxPool", [source], name, kernel_shape=[size, size], strides=list(layer.strides), pads=pads
    )


def _upsample(parts: Parts, layer: Layer, source: str, name: str) -> str:
    factor = float(layer.strides[0])
    scales = parts.constant(f"{name}_scales", np.asarray([1, 1, factor, factor], np.float32))
    larger = parts.add(
        "Resize",
        [source, "", scales],
        f"{name}_larger",
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    scale = layer.section.number("scale", 1.0)
    if scale == 1:
        return larger
    return parts.add("Mul", [larger, parts.constant(f"{name}_scale", np.float32(scale))], name)


def _route(parts: Parts, layer: Layer, inputs: list[str], depths: list[int], name: str) -> str:
    groups, group = layer.section.integer("groups", 1), layer.section.integer("group_id", 0)
    if groups > 1:
        inputs = [
            _channels(parts, source, group * (depth // groups), depth // groups, f"{name}_part_{i}")
            for i, (source, depth) in enumerate(zip(inputs, depths, strict=True))
        ]
    return inputs[0] if len(inputs) == 1 else parts.add("Concat", inputs, name, axis=1)


def _shortcut(parts: Parts, layer: Layer, inputs: list[str], depths: list[int], name: str) -> str:
    """Add to the previous layer; of unequal channels only the overlap is added (`shortcut_cpu`)."""
    total = inputs[0]
    for i, (source, depth) in enumerate(zip(inputs[1:], depths[1:], strict=True)):
        if depth > layer.channels:
            source = _channels(parts, source, 0, layer.channels, f"{name}_part_{i}")
        elif depth < layer.channels:
            pads = np.asarray([0, 0, 0, 0, 0, layer.channels - depth, 0, 0], np.int64)
            source = parts.add("Pad", [source, parts.constant(f"{name}_pads_{i}", pads)], f"{name}_wide_{i}")
        total = parts.add("Add", [total, source], f"{name}_sum_{i}")
    return _activate(parts, layer, layer.section.text("activation", "linear"), total, name)


def _channels(parts: Parts, source: str, start: int, count: int, name: str) -> str:
    """Slice channels `start` to `start + count`."""
    bounds = [
        parts.constant(f"{name}_{what}", np.asarray([value], np.int64))
        for what, value in (("start", start), ("end", start + count), ("axis", 1))
    ]
    return parts.add("Slice", [source, *bounds], name)
