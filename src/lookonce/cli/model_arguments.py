"""Arguments shared by all commands that run a detector."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lookonce.io.parallel import available_cores

if TYPE_CHECKING:
    from lookonce.inference import Detector

# Copied from lookonce.inference.engines, which would load ONNX Runtime for --help.
ENGINES = ("auto", "onnx", "openvino", "openvino-bf16", "keras")
DEVICES = ("auto", "cpu", "cuda", "tensorrt")


def add_model_arguments(
    parser: argparse.ArgumentParser,
    several_engines: bool = False,
    more_engines: tuple[str, ...] = (),
    optional: bool = False,
) -> None:
    """Add MODEL, --weights, --classes, --resize, --iou, and the options of the engine.

    Args:
        parser: the command's parser.
        several_engines: let --engine be a list, separated by commas or repeated; empty by default.
        more_engines: engines of this command only.
        optional: MODEL may come from the environment.
    """
    default = "; default: $LOOKONCE_MODEL, else the model in $AZUREML_MODEL_DIR" if optional else ""
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?" if optional else None,
        help=f"a .onnx or .keras model, or a Darknet .cfg with --weights{default}",
    )
    parser.add_argument("--weights", metavar="FILE", help="Darknet weights of a .cfg")
    parser.add_argument("--classes", metavar="FILE", help="class names, one per line")
    parser.add_argument("--resize", choices=("letterbox", "stretch"), help="default: the model's")
    parser.add_argument(
        "--iou", type=float, default=0.45, help="overlap above which NMS drops a box (default: %(default)s)"
    )
    running = parser.add_argument_group("engine")
    if several_engines:
        running.add_argument(
            "--engine",
            type=_engines,
            action="extend",
            default=[],
            metavar="NAME[,NAME]",
            help=f"of {', '.join(ENGINES)}, measured side by side (default: auto)",
        )
    else:
        running.add_argument(
            "--engine",
            choices=(*ENGINES, *more_engines),
            default="auto",
            help="default: ONNX Runtime, which needs no Keras",
        )
    running.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="for ONNX Runtime (default: a GPU if available)",
    )
    running.add_argument("--threads", type=int, default=0, metavar="N", help="default: the engine's choice")


def open_detector(arguments: argparse.Namespace, conf: float, many: bool = False) -> Detector:
    """Open the Detector of the arguments, for `many` images or for one. Raises LookonceError."""
    from lookonce.inference import Detector

    on_processor = arguments.engine in ("auto", "onnx") and arguments.device in ("auto", "cpu")

    return Detector(
        arguments.model,
        weights=arguments.weights,
        classes=arguments.classes,
        resize=arguments.resize,
        conf=conf,
        iou=arguments.iou,
        engine=arguments.engine,
        device=arguments.device,
        threads=arguments.threads,
        lanes=available_cores() if many and on_processor and not arguments.threads else 1,
    )


def _engines(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ENGINES:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(ENGINES)}")
    return names
