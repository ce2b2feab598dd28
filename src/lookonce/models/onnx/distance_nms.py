"""Greedy NMS on IoU less a distance term as ONNX nodes: Darknet's greedynms and diounms.

ONNX's NonMaxSuppression knows plain IoU only. Here it sorts the candidates, and a Loop over them, best first,
suppresses what each overlaps (Darknet's diounms_sort).
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from lookonce.models.onnx.graph import Parts


def suppress_by_distance(
    parts: Parts, boxes: str, candidates: str, iou: float, beta: float, input_size: tuple[int, int]
) -> str:
    """Append the nodes; return the name of the rows of `candidates` that are kept.

    Args:
        parts: the graph under construction.
        boxes: name of the boxes (batch, n, 4): cx, cy, w, h in input pixels.
        candidates: name of int64 rows (k, 3): image, class and box, best score first in each image and class.
        iou: largest overlap that is kept.
        beta: exponent of the distance term.
        input_size: (height, width) in pixels; overlaps are measured on boxes as shares of it.
    """
    size = np.asarray([input_size[1], input_size[0]] * 2, np.float32)
    chosen = _columns(parts, boxes, candidates, size)
    count = parts.add("Shape", [candidates], "nms_shape")
    count = parts.add("Gather", [count, parts.constant("nms_first", np.int64(0))], "nms_count")
    zero, one = parts.constant("nms_zero", np.int64(0)), parts.constant("nms_one", np.int64(1))
    ranks = parts.add("Range", [zero, count, one], "nms_ranks")
    all_kept = parts.add("GreaterOrEqual", [ranks, zero], "nms_all")
    body = _body(chosen, ranks, iou, beta)
    always = parts.constant("nms_always", np.asarray(True))
    kept = parts.add("Loop", [count, always, all_kept], "nms_kept", body=body)
    return parts.add("Compress", [candidates, kept], "chosen", axis=0)


def _columns(parts: Parts, boxes: str, candidates: str, size: np.ndarray) -> dict[str, str]:
    """Return the names of the candidates' sides, areas and groups (image and class), each (k,)."""

    def column(source: str, index: int, name: str) -> str:
        return parts.add("Gather", [source, parts.constant(f"{name}_index", np.int64(index))], name, axis=1)

    image, label, box = (
        column(candidates, index, f"nms_{name}") for index, name in enumerate(("image", "class", "box"))
    )
    last = parts.constant("nms_last", np.asarray([1], np.int64))
    place = [parts.add("Unsqueeze", [name, last], f"{name}_wide") for name in (image, box)]
    places = parts.add("Concat", place, "nms_places", axis=1)
    picked = parts.add("GatherND", [boxes, places], "nms_picked")
    shares = parts.add("Div", [picked, parts.constant("nms_size", size)], "nms_shares")
    x, y, width, height = (column(shares, index, f"nms_{name}") for index, name in enumerate("xywh"))
    half = parts.constant("nms_half", np.float32(0.5))
    found = {}
    for centre, side, low, high in ((x, width, "left", "right"), (y, height, "top", "bottom")):
        reach = parts.add("Mul", [side, half], f"nms_{low}_reach")
        found[low] = parts.add("Sub", [centre, reach], f"nms_{low}")
        found[high] = parts.add("Add", [centre, reach], f"nms_{high}")
    found["x"], found["y"] = x, y
    found["area"] = parts.add("Mul", [width, height], "nms_area")
    most = parts.constant("nms_classes", np.int64(2**32))
    found["group"] = parts.add("Add", [parts.add("Mul", [image, most], "nms_lane"), label], "nms_group")
    return found


def _body(columns: dict[str, str], ranks: str, iou: float, beta: float) -> object:
    """Return the loop's body: whether each candidate is still kept, after those before and this one."""
    parts = Parts()

    def one(name: str) -> str:
        return parts.add("Gather", [columns[name], "nms_turn"], f"nms_this_{name}")

    def span(low: str, high: str, outer: bool) -> str:
        """Return the length that both boxes share along an axis, or that they span together."""
        what = f"nms_{'outer' if outer else 'inner'}_{low}"
        ends = parts.add("Max" if outer else "Min", [columns[high], this[high]], f"{what}_end")
        starts = parts.add("Min" if outer else "Max", [columns[low], this[low]], f"{what}_start")
        return parts.add("Sub", [ends, starts], what)

    this = {name: one(name) for name in columns}
    wide = parts.add("Relu", [span("left", "right", False)], "nms_wide")
    high = parts.add("Relu", [span("top", "bottom", False)], "nms_high")
    common = parts.add("Mul", [wide, high], "nms_common")
    areas = parts.add("Add", [columns["area"], this["area"]], "nms_areas")
    tiny = parts.constant("nms_tiny", np.float32(np.finfo(np.float32).tiny))
    union = parts.add("Max", [parts.add("Sub", [areas, common], "nms_union"), tiny], "nms_union_safe")
    plain = parts.add("Div", [common, union], "nms_iou")
    squares = [
        parts.add("Mul", [side, side], f"{side}_squared")
        for side in (span("left", "right", True), span("top", "bottom", True))
    ]
    diagonal = parts.add("Max", [parts.add("Add", squares, "nms_diagonal"), tiny], "nms_diagonal_safe")
    moves = [parts.add("Sub", [columns[axis], this[axis]], f"nms_apart_{axis}") for axis in "xy"]
    moves = [parts.add("Mul", [move, move], f"{move}_squared") for move in moves]
    apart = parts.add("Div", [parts.add("Add", moves, "nms_apart"), diagonal], "nms_apart_share")
    term = parts.add("Pow", [apart, parts.constant("nms_beta", np.float32(beta))], "nms_term")
    overlap = parts.add("Sub", [plain, term], "nms_overlap")
    above = parts.add("Greater", [overlap, parts.constant("nms_limit", np.float32(iou))], "nms_above")
    later = parts.add("Greater", [ranks, "nms_turn"], "nms_later")
    same = parts.add("Equal", [columns["group"], this["group"]], "nms_same")
    alive = parts.add("Gather", ["nms_before", "nms_turn"], "nms_alive")
    struck = parts.add("And", [parts.add("And", [above, later], "nms_struck_later"), same], "nms_struck_same")
    struck = parts.add("And", [struck, alive], "nms_struck")
    parts.add("And", ["nms_before", parts.add("Not", [struck], "nms_spared")], "nms_after")
    parts.add("Identity", ["nms_go"], "nms_go_on")
    kept = ["nms_candidates"]
    return helper.make_graph(
        parts.nodes,
        "suppress_one",
        [
            helper.make_tensor_value_info("nms_turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("nms_go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("nms_before", TensorProto.BOOL, kept),
        ],
        [
            helper.make_tensor_value_info("nms_go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("nms_after", TensorProto.BOOL, kept),
        ],
        parts.constants,
    )
