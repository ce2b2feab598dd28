"""`lookonce detect --engine ray`: folders of millions of images, on this machine or a cluster."""

from __future__ import annotations

import argparse
import sys

from lookonce.errors import LookonceError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Register what only Ray needs."""
    group = parser.add_argument_group(
        "--engine ray",
        "ONNX Runtime on many processors and machines. SOURCE, a folder with all below it or a pattern, and "
        "--output may be addresses (az://, s3://). The same command goes on where a run stopped.",
    )
    group.add_argument(
        "--address", metavar="RAY", help="a cluster's: auto, or ray://HOST:PORT (default: this machine alone)"
    )
    group.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="each with one processor or --threads, with --device cuda a GPU (default: as many as find room)",
    )


def refuse_flags(arguments: argparse.Namespace) -> None:
    """Raise LookonceError for flags that mean nothing without Ray."""
    for flag in ("address", "workers"):
        if getattr(arguments, flag):
            raise LookonceError(f"--{flag} is for --engine ray; --engine is {arguments.engine}.")


def run(arguments: argparse.Namespace) -> int:
    """Detect by Ray; results and rejects are Parquet files below --output."""
    _refuse(arguments)
    from rich.console import Console
    from rich.progress import Progress

    try:
        from lookonce.inference.ray import detect_fleet
    except ImportError as error:
        raise LookonceError(
            f"the engine ray isn't installed ({error}): pip install 'lookonce[ray]'"
        ) from error
    from lookonce.models.open import open_onnx

    graph, _ = open_onnx(arguments.model, arguments.weights, arguments.classes, arguments.resize)
    with Progress(console=Console(stderr=True), transient=not sys.stderr.isatty()) as bar:
        task = bar.add_task("Images", total=None)
        summary = detect_fleet(
            graph.SerializeToString(),
            arguments.source,
            arguments.output,
            conf=arguments.conf,
            iou=arguments.iou,
            device=arguments.device,
            threads=arguments.threads,
            batch=arguments.batch,
            address=arguments.address,
            workers=arguments.workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    rate = summary.images / max(summary.seconds, 1e-9)
    before = f", {summary.before} were done before" if summary.before else ""
    print(
        f"{summary.images} images, {summary.objects} objects, {summary.rejects} rejected, "
        f"{rate:.1f} images a second{before}; Parquet files in {arguments.output}"
    )
    return 1 if summary.rejects else 0


def _refuse(arguments: argparse.Namespace) -> None:
    if arguments.json:
        raise LookonceError("--engine ray writes Parquet files below --output; --json goes with the others.")
    if arguments.output == "none":
        raise LookonceError("--engine ray writes Parquet files: give --output a folder or an address.")
    for flag in ("track", "show", "max_frames", "seconds"):
        if getattr(arguments, flag):
            raise LookonceError(
                f"--{flag.replace('_', '-')} is for video; --engine ray looks at images. Leave it out."
            )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected 1 or more")
    return value
