"""Preprocessing, decoding and NMS inside an ONNX graph, so that any runtime gets boxes from an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from lookonce.darknet import LARGEST_LOG_SIZE, Head
from lookonce.darknet.cfg import DEFAULT_NMS, GREEDY_BETA, GREEDY_NMS
from lookonce.models.onnx.distance_nms import suppress_by_distance
from lookonce.models.onnx.graph import INPUT, Parts

OUTPUTS = ("boxes", "scores", "classes", "images")
_MOST_PER_CLASS = 1000


def with_boxes(
    raw: onnx.ModelProto, heads: Sequence[Head], input_size: tuple[int, int], conf: float, iou: float
) -> onnx.ModelProto:
    """Return a copy of a raw network with preprocessing, decoding and NMS inside.

    The input `image` is uint8 (batch, height, width, 3), RGB, already resized to `input_size`. The outputs
    have one row per detection: `boxes` float32 (n, 4) xyxy in input pixels, not clipped; `scores` (n,);
    `classes` int64 (n,); `images` int64 (n,), the index in the batch.

    Args:
        raw: graph from `network_graph`, with a fixed input size.
        heads: the cfg's heads, in order.
        input_size: (height, width) in pixels.
        conf: lowest score.
        iou: per class, of two boxes with a higher overlap only the better is kept. The overlap is what the last
                head's `nms_kind` says; its distance term is measured in shares of the input, which for a letterboxed
                image that is not square differs a little from Darknet's shares of the image.
    """
    model = onnx.ModelProto()
    model.CopyFrom(raw)
    graph, parts = model.graph, Parts()
    sources = [(output.name, _grid(output)) for output in graph.output]
    scaled = _preprocess(parts)
    for node in graph.node:
        node.input[:] = [scaled if name == INPUT else name for name in node.input]
    before = list(parts.nodes)
    parts.nodes.clear()

    decoded = [
        _decode(parts, source, head, grid, input_size)
        for (source, grid), head in zip(sources, heads, strict=True)
    ]
    boxes = parts.add("Concat", [each[0] for each in decoded], "all_boxes", axis=1)
    scores = parts.add("Concat", [each[1] for each in decoded], "all_scores", axis=2)
    _suppress(parts, boxes, scores, conf, iou, heads[-1], input_size)

    network = list(graph.node)
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*before, *network, *parts.nodes])
    graph.initializer.extend(parts.constants)
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", *input_size, 3]))
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT64)
    for name, kind in zip(OUTPUTS, kinds, strict=True):
        shape: list[str | int | None] = ["detections", 4] if name == "boxes" else ["detections"]
        graph.output.append(helper.make_tensor_value_info(name, kind, shape))
    return model


def _preprocess(parts: Parts) -> str:
    floats = parts.add("Cast", [INPUT], "image_float", to=TensorProto.FLOAT)
    first = parts.add("Transpose", [floats], "image_nchw", perm=[0, 3, 1, 2])
    return parts.add("Div", [first, parts.constant("white", np.float32(255))], "image_scaled")


def _decode(
    parts: Parts, source: str, head: Head, grid: tuple[int, int], input_size: tuple[int, int]
) -> tuple[str, str]:
    """Decode a raw head into centre-form boxes (b, n, 4) in input pixels, and scores (b, classes, n).

    The arithmetic is that of `lookonce.inference.decode`, there in numpy and for selected cells only.
    """
    name, slots, depth = f"yolo_{head.layer}", len(head.mask), 5 + head.classes

    def constant(what: str, value: npt.ArrayLike, kind: type = np.float32) -> str:
        return parts.constant(f"{name}_{what}", np.asarray(value, kind))

    def cut(what: str, start: int, end: int) -> str:
        bounds = [
            constant(f"{what}_{edge}", [value], np.int64)
            for edge, value in (("start", start), ("end", end), ("axis", 2))
        ]
        return parts.add("Slice", [cells, *bounds], f"{name}_{what}")

    def activate(tensor: str) -> str:
        # `new_coords` heads have their own sigmoid.
        return tensor if head.new_coords else parts.add("Sigmoid", [tensor], f"{tensor}_sigmoid")

    grid_height, grid_width = grid
    count = grid_height * grid_width
    cells = parts.add(
        "Reshape", [source, constant("split_shape", [-1, slots, depth, count], np.int64)], f"{name}_cells"
    )
    corners = np.stack(np.meshgrid(np.arange(grid_width), np.arange(grid_height)), axis=0).reshape(2, count)
    stride = np.asarray([input_size[1] / grid_width, input_size[0] / grid_height], np.float32)[:, None]
    reach = head.scale_x_y
    # centre = (sigmoid * reach - (reach - 1) / 2 + corner) * stride, as one factor and one shift.
    shift = (corners - (reach - 1) / 2) * stride
    centre = parts.add("Mul", [activate(cut("xy", 0, 2)), constant("reach", reach * stride)], f"{name}_moved")
    centre = parts.add("Add", [centre, constant("corners", shift)], f"{name}_centres")
    anchors = constant("anchors", head.anchors[:, :, None])
    if head.new_coords:
        doubled = parts.add("Mul", [cut("wh", 2, 4), constant("two", 2)], f"{name}_doubled")
        factor = parts.add("Mul", [doubled, doubled], f"{name}_factors")
    else:
        bounds = [constant("least", -LARGEST_LOG_SIZE), constant("most", LARGEST_LOG_SIZE)]
        factor = parts.add("Clip", [cut("wh", 2, 4), *bounds], f"{name}_log_sizes")
        factor = parts.add("Exp", [factor], f"{name}_factors")
    sizes = parts.add("Mul", [factor, anchors], f"{name}_sizes")
    boxes = parts.add("Concat", [centre, sizes], f"{name}_boxes", axis=2)
    boxes = parts.add("Transpose", [boxes], f"{name}_boxes_last", perm=[0, 3, 1, 2])
    boxes = parts.add(
        "Reshape", [boxes, constant("rows_shape", [-1, count * slots, 4], np.int64)], f"{name}_rows"
    )
    scores = parts.add(
        "Mul", [activate(cut("object", 4, 5)), activate(cut("classes", 5, depth))], f"{name}_scores"
    )
    scores = parts.add("Transpose", [scores], f"{name}_scores_last", perm=[0, 2, 3, 1])
    scores = parts.add(
        "Reshape",
        [scores, constant("columns_shape", [-1, head.classes, count * slots], np.int64)],
        f"{name}_columns",
    )
    return boxes, scores


def _suppress(
    parts: Parts, boxes: str, scores: str, conf: float, iou: float, head: Head, input_size: tuple[int, int]
) -> None:
    """Add NMS, and gather the four outputs by the rows it selects: (batch, class, box)."""
    plain = head.nms_kind == DEFAULT_NMS
    limits = [
        parts.constant("most_per_class", np.asarray([_MOST_PER_CLASS], np.int64)),
        # No overlap exceeds 1: all candidates pass, sorted.
        parts.constant("iou", np.asarray([iou if plain else 1.0], np.float32)),
        parts.constant("conf", np.asarray([conf], np.float32)),
    ]
    chosen = parts.add(
        "NonMaxSuppression",
        [boxes, scores, *limits],
        "chosen" if plain else "candidates",
        center_point_box=1,
    )
    if not plain:
        beta = GREEDY_BETA if head.nms_kind == GREEDY_NMS else head.beta_nms
        chosen = suppress_by_distance(parts, boxes, chosen, iou, beta, input_size)

    def column(index: int, output: str) -> str:
        return parts.add(
            "Gather", [chosen, parts.constant(f"{output}_column", np.int64(index))], output, axis=1
        )

    image, _ = column(0, "images"), column(1, "classes")
    box = column(2, "chosen_box")
    pair = parts.constant("pair", np.asarray([1], np.int64))
    place = parts.add(
        "Concat",
        [parts.add("Unsqueeze", [name, pair], f"{name}_wide") for name in (image, box)],
        "chosen_places",
        axis=1,
    )
    kept = parts.add("GatherND", [boxes, place], "chosen_boxes")
    parts.add("GatherND", [scores, chosen], "scores")
    half = parts.constant("half", np.asarray([0.5, 0.5], np.float32))
    sides = parts.constant("sides", np.asarray([2, 2], np.int64))
    parts.nodes.append(
        helper.make_node("Split", [kept, sides], ["chosen_centres", "chosen_sizes"], "chosen_split", axis=1)
    )
    reach = parts.add("Mul", ["chosen_sizes", half], "chosen_reach")
    low = parts.add("Sub", ["chosen_centres", reach], "chosen_low")
    high = parts.add("Add", ["chosen_centres", reach], "chosen_high")
    parts.add("Concat", [low, high], "boxes", axis=1)


def _grid(head: onnx.ValueInfoProto) -> tuple[int, int]:
    height, width = (side.dim_value for side in head.type.tensor_type.shape.dim[2:])
    if not height or not width:
        raise ValueError(f"{head.name} has no fixed grid; boxes need a fixed input size")
    return height, width
