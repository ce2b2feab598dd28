"""`lookonce detect --engine ray`: folders of millions of images, on this machine or on a cluster."""

from __future__ import annotations

import argparse
import sys

from lookonce.cli.argument_types import positive
from lookonce.errors import LookonceError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that only Ray uses."""
    group = parser.add_argument_group(
        "--engine ray",
        "ONNX Runtime on many cores and machines. SOURCE, a folder (searched recursively) or a pattern, and "
        "--output may be addresses (az://, s3://). The same command resumes a run that was stopped.",
    )
    group.add_argument(
        "--address", metavar="RAY", help="a cluster: auto, or ray://HOST:PORT (default: this machine only)"
    )
    group.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="each with one core or --threads, and a GPU with --device cuda (default: as many as fit)",
    )


def refuse_flags(arguments: argparse.Namespace) -> None:
    """Raise LookonceError for flags that require Ray."""
    for flag in ("address", "workers"):
        if getattr(arguments, flag):
            raise LookonceError(f"--{flag} is for --engine ray; --engine is {arguments.engine}.")


def run(arguments: argparse.Namespace) -> int:
    """Detect with Ray; write results and rejects as Parquet files below --output."""
    _check(arguments)
    from rich.console import Console
    from rich.progress import Progress

    try:
        from lookonce.inference.ray import detect_fleet
    except ImportError as error:
        raise LookonceError(
            f"the engine ray is not installed ({error}): pip install 'lookonce[ray]'"
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
    earlier = f", {summary.already_done} done earlier" if summary.already_done else ""
    print(
        f"{summary.images} images, {summary.objects} objects, {summary.rejects} rejected, "
        f"{rate:.1f} images/s{earlier}; Parquet files in {arguments.output}"
    )
    return 1 if summary.rejects else 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.json:
        raise LookonceError(
            "--engine ray writes Parquet files below --output; --json is for the other engines."
        )
    if arguments.output == "none":
        raise LookonceError("--engine ray writes Parquet files: give --output a folder or an address.")
    for flag in ("track", "show", "max_frames", "seconds"):
        if getattr(arguments, flag):
            raise LookonceError(
                f"--{flag.replace('_', '-')} is for video; --engine ray processes images. Leave it out."
            )
