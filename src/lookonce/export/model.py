"""Export a model file to another format, chosen by the output's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lookonce.errors import LookonceError
from lookonce.export.darknet_files import export_darknet
from lookonce.export.int8 import Quantized, quantize_graph
from lookonce.export.keras_formats import export_litert, export_openvino
from lookonce.export.onnx_file import export_onnx, read_raw, write_onnx


def export_model(model: str | Path, output: str | Path, **options: Any) -> Path:
    """Write `model` to `output`: `.onnx`, `.xml` (OpenVINO), `.tflite` (LiteRT) or `.cfg` (Darknet).

    `options` are those of export_onnx, export_openvino, export_litert or export_darknet. Return the path of the
    file written. Raises LookonceError.

    Example:
        >>> from lookonce.darknet import published, random_weights, write_weights
        >>> cfg = published("yolov4-tiny")
        >>> _ = Path("model.cfg").write_text(cfg.text)
        >>> write_weights("model.weights", cfg, random_weights(cfg, seed=0))
        >>> export_model("model.cfg", "model.onnx", weights="model.weights", nms=True).name
        'model.onnx'
    """
    writers: dict[str, Callable[..., Any]] = {
        ".onnx": export_onnx,
        ".xml": export_openvino,
        ".tflite": export_litert,
        ".cfg": export_darknet,
    }
    suffix = Path(output).suffix.lower()
    if suffix not in writers:
        raise LookonceError(f"{output}: expected a file name that ends with one of {', '.join(writers)}.")
    writers[suffix](model, output, **options)
    return Path(output)


def quantize(
    model: str | Path,
    output: str | Path,
    data: str | Path,
    *,
    weights: str | Path | None = None,
    classes: str | Path | None = None,
    resize: str | None = None,
    calibrate_split: str = "train",
    split: str = "val",
    max_drop: float = 0.01,
    force: bool = False,
    nms: bool = False,
    conf: float = 0.25,
    iou: float = 0.45,
    dynamic_size: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Quantized:
    """Write `model` as an int8 ONNX file to `output`.

    Args:
        model: a model file, or a Darknet .cfg with its `weights`; `classes` and `resize` as for Detector.
        output: a name that ends with .onnx.
        data: labelled images like those that the model will see.
        calibrate_split: the split whose images set the ranges of the activations.
        split: the split on which AP50 is compared before and after.
        max_drop: largest loss of AP50, 0.01 is one point; a model that loses more is not written unless `force`.
        nms: as for export_onnx, as are `conf`, `iou` and `dynamic_size`.
        say: called with each line of progress.

    Raises:
        LookonceError: for a model or data that cannot be used, and when every choice loses more than `max_drop`.
    """
    graph, card = read_raw(model, weights, classes, resize)
    result = quantize_graph(
        graph,
        card,
        data,
        calibrate_split=calibrate_split,
        split=split,
        max_drop=max_drop,
        force=force,
        say=say,
    )
    write_onnx(result.graph, card, output, nms=nms, conf=conf, iou=iou, dynamic_size=dynamic_size)
    return result
