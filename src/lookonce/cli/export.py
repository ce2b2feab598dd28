"""`lookonce export`: convert a model for other runtimes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lookonce.errors import LookonceError

_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "litert": ".tflite", "darknet": ".cfg"}
_EXAMPLES = """examples:
  lookonce export outputs/model.keras                                 model.onnx, raw heads
  lookonce export outputs/model.keras --nms --output boxes.onnx       resized image in, boxes out
  lookonce export outputs/model.keras --int8 --calibrate data/voc     smaller, faster; AP50 before and after
  lookonce export outputs/model.keras --format darknet                model.cfg, model.weights, model.names
  lookonce export yolov3-tiny.cfg --weights yolov3-tiny.weights --classes coco.names --format openvino
"""


def add_parser(commands: Any) -> None:
    """Add `export` to the command line."""
    parser = commands.add_parser(
        "export",
        help="convert a model to ONNX, OpenVINO, LiteRT or Darknet files",
        description="Convert a model for another runtime; classes, anchors and input size are included.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a .keras model, or a Darknet .cfg with --weights")
    parser.add_argument("--weights", metavar="FILE", help="Darknet weights of a .cfg")
    parser.add_argument("--classes", metavar="FILE", help="class names, one per line")
    parser.add_argument("--resize", choices=("letterbox", "stretch"), help="default: the model's")
    parser.add_argument("--format", choices=tuple(_SUFFIXES), default="onnx", help="default: %(default)s")
    parser.add_argument(
        "--output", metavar="FILE", help="default: beside the model, with the format's suffix"
    )
    onnx = parser.add_argument_group("ONNX")
    onnx.add_argument(
        "--nms", action="store_true", help="include decoding and NMS: uint8 image in, boxes out"
    )
    onnx.add_argument(
        "--conf", type=float, default=0.25, help="lowest score with --nms (default: %(default)s)"
    )
    onnx.add_argument(
        "--iou", type=float, default=0.45, help="largest overlap with --nms (default: %(default)s)"
    )
    onnx.add_argument("--dynamic-size", action="store_true", help="accept any height and width")
    int8 = parser.add_argument_group("int8")
    int8.add_argument("--int8", action="store_true", help="quantize to 8-bit integers; needs --calibrate")
    int8.add_argument(
        "--calibrate", metavar="DATA", help="labelled images for calibration, on their train split"
    )
    int8.add_argument("--split", default="val", help="split on which AP50 is compared (default: %(default)s)")
    int8.add_argument(
        "--max-drop",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="largest allowed loss of AP50 (default: 1)",
    )
    int8.add_argument("--force", action="store_true", help="write the model whatever it loses")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export a model and print the files written."""
    _refuse_contradictions(arguments)
    output = Path(arguments.output or Path(arguments.model).with_suffix(_SUFFIXES[arguments.format]))
    if output.resolve() == Path(arguments.model).resolve():
        raise LookonceError(f"{output}: is the model itself; choose another file with --output.")
    opening = {"weights": arguments.weights, "classes": arguments.classes, "resize": arguments.resize}
    if arguments.format == "darknet":
        from lookonce.export import export_darknet

        written = export_darknet(arguments.model, output)
        print("Wrote " + ", ".join(map(str, written)))
        return 0
    if arguments.format in ("openvino", "litert"):
        from lookonce.export import export_litert, export_openvino

        export = export_openvino if arguments.format == "openvino" else export_litert
        print(f"Wrote {export(arguments.model, output, **opening)}")
        return 0
    _export_onnx(arguments, output, opening)
    return 0


def _export_onnx(arguments: argparse.Namespace, output: Path, opening: dict[str, Any]) -> None:
    from lookonce.export import export_onnx, quantize

    finishing: dict[str, Any] = {
        "nms": arguments.nms,
        "conf": arguments.conf,
        "iou": arguments.iou,
        "dynamic_size": arguments.dynamic_size,
        **opening,
    }
    if arguments.int8:
        quantize(
            arguments.model,
            output,
            arguments.calibrate,
            split=arguments.split,
            max_drop=arguments.max_drop / 100,
            force=arguments.force,
            say=print,
            **finishing,
        )
    else:
        export_onnx(arguments.model, output, **finishing)
    print(f"Wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")


def _refuse_contradictions(arguments: argparse.Namespace) -> None:
    onnx_only = [name for name in ("nms", "int8", "dynamic_size") if getattr(arguments, name)]
    if onnx_only and arguments.format != "onnx":
        flag = onnx_only[0].replace("_", "-")
        raise LookonceError(f"--{flag} goes with --format onnx, not with {arguments.format}.")
    if arguments.int8 and not arguments.calibrate:
        raise LookonceError("--int8 needs --calibrate DATA: labelled images like those in use.")
    if arguments.calibrate and not arguments.int8:
        raise LookonceError("--calibrate goes with --int8.")
