"""Export to ONNX: the raw network, or with decoding and NMS inside."""

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
    """Export a model to an ONNX file, with the model card inside.

    The raw network maps `image`, float32 (batch, 3, height, width), RGB, 0..1, to the raw heads. With `nms`,
    `image` is uint8 (batch, height, width, 3), RGB, and the outputs are `boxes` (n, 4) xyxy in input pixels,
    `scores`, `classes` and `images` (n,).

    Args:
        model: a `.keras` or `.onnx` file, or a Darknet `.cfg`.
        output: NAME.onnx.
        weights: the Darknet weights of a `.cfg`.
        classes: a file with one class name per line.
        resize: 'letterbox' or 'stretch'; None takes the model's.
        nms: put decoding and NMS inside the graph.
        conf: lowest score, for `nms`.
        iou: largest overlap of two boxes of a class, for `nms`.
        dynamic_size: accept any height and width that are multiples of the stride; not with `nms`.

    Raises:
        LookonceError: the model cannot be opened, options contradict, or the file cannot be written.

    Example:
        >>> from lookonce.darknet import parse_cfg, random_weights, write_weights
        >>> head = "[convolutional]\\nfilters=6\\n[yolo]\\nclasses=1\\nanchors=9,9"
        >>> cfg = parse_cfg("[net]\\nwidth=32\\nheight=32\\n" + head)
        >>> _ = Path("tiny.cfg").write_text(cfg.text)
        >>> write_weights("tiny.weights", cfg, random_weights(cfg, seed=0))
        >>> export_onnx("tiny.cfg", "tiny.onnx", weights="tiny.weights").name
        'tiny.onnx'
    """
    graph, card = read_raw(model, weights, classes, resize)
    return write_onnx(graph, card, output, nms=nms, conf=conf, iou=iou, dynamic_size=dynamic_size)


def read_raw(
    model: str | Path,
    weights: str | Path | None = None,
    classes: str | Path | None = None,
    resize: str | None = None,
) -> tuple[onnx.ModelProto, ModelCard]:
    """Open a model as a raw ONNX graph and its card; arguments as in `export_onnx`. Raises LookonceError."""
    graph, card = open_onnx(model, weights, classes, resize)
    if len(graph.graph.output) and graph.graph.output[0].name == "boxes":
        raise LookonceError(f"{model}: already has NMS inside. Export from the original .keras file.")
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
    """Add NMS or a dynamic size to a raw graph, check it, and write it atomically. Raises LookonceError."""
    output = Path(output)
    if output.suffix != ".onnx":
        raise LookonceError(f"{output}: the output's name must end with .onnx.")
    for name, value in (("conf", conf), ("iou", iou)):
        if not 0 <= value <= 1:
            raise LookonceError(f"{name} is {value}; expected a number from 0 to 1.")
    if nms and dynamic_size:
        raise LookonceError(
            "NMS inside the graph needs a fixed input size: choose either nms or dynamic_size."
        )
    if nms:
        graph = with_boxes(graph, parse_cfg(card.cfg).heads, card.input_size, conf, iou)
    elif dynamic_size:
        graph = with_free_size(graph)
    write_graph_card(graph, card)
    onnx.checker.check_model(graph, full_check=True)
    with atomic_file(output) as temporary:
        temporary.write_bytes(graph.SerializeToString())
    return output
