"""MODEL as an ONNX file: the raw network, or from a resized image to boxes."""

from __future__ import annotations

from pathlib import Path

import onnx

from lookonce.core.model_card import ModelCard
from lookonce.darknet import parse_cfg
from lookonce.errors import LookonceError
from lookonce.io.atomic import atomic_file
from lookonce.models.cards import write_graph_card
from lookonce.models.onnx import with_boxes, with_free_size
from lookonce.models.open import open_onnx


def export_onnx(
    model: str | Path,
    output: str | Path,
    *,
    weights: str | Path | None = None,
    classes: str | Path | None = None,
    resize: str | None = None,
    nms: bool = False,
    conf: float = 0.25,
    iou: float = 0.45,
    dynamic_size: bool = False,
) -> Path:
    """Write MODEL (`.keras`, `.onnx`, or a Darknet `.cfg` with its `weights`) to the file `output`.

    Raw: `image` float32 (batch, 3, height, width) RGB 0..1 in, the raw heads out, for OpenCV, OpenVINO and
    the like. With `nms`: `image` uint8 (batch, height, width, 3) RGB in, and `boxes` (n, 4) xyxy in input
    pixels, `scores`, `classes`, `images` (n,) out, above `conf` and apart by `iou`. `dynamic_size` leaves
    height and width of a raw network free. The model card travels inside. Raises LookonceError.
    """
    graph, card = read_raw(model, weights, classes, resize)
    return write_onnx(graph, card, output, nms=nms, conf=conf, iou=iou, dynamic_size=dynamic_size)


def read_raw(
    model: str | Path,
    weights: str | Path | None = None,
    classes: str | Path | None = None,
    resize: str | None = None,
) -> tuple[onnx.ModelProto, ModelCard]:
    """MODEL as a raw ONNX graph and its card. Raises LookonceError."""
    graph, card = open_onnx(model, weights, classes, resize)
    if len(graph.graph.output) and graph.graph.output[0].name == "boxes":
        raise LookonceError(f"{model}: has NMS inside already. Export from the .keras file it came from.")
    return graph, card


def write_onnx(
    graph: onnx.ModelProto,
    card: ModelCard,
    output: str | Path,
    *,
    nms: bool = False,
    conf: float = 0.25,
    iou: float = 0.45,
    dynamic_size: bool = False,
) -> Path:
    """Finish and check a raw graph, and write it whole. Raises LookonceError."""
    output = Path(output)
    if output.suffix != ".onnx":
        raise LookonceError(f"--output {output}: an ONNX file's name must end with .onnx.")
    for name, value in (("conf", conf), ("iou", iou)):
        if not 0 <= value <= 1:
            raise LookonceError(f"--{name} is {value}; expected a number from 0 to 1.")
    if nms and dynamic_size:
        raise LookonceError("--nms needs one input size: leave --dynamic-size out, or --nms.")
    if nms:
        graph = with_boxes(graph, parse_cfg(card.cfg).heads, card.input_size, conf, iou)
    elif dynamic_size:
        graph = with_free_size(graph)
    write_graph_card(graph, card)
    onnx.checker.check_model(graph, full_check=True)
    with atomic_file(output) as temporary:
        temporary.write_bytes(graph.SerializeToString())
    return output
