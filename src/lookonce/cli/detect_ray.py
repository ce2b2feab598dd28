"""`lookonce detect --engine ray`: folders of millions of pictures, on this machine or a cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lookonce.errors import LookonceError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Register what only Ray needs."""
    group = parser.add_argument_group(
        "--engine ray: SOURCE and --output are folders or addresses (az://, s3://)"
    )
    group.add_argument("--address", metavar="RAY", help="a cluster's (default: this machine's processors)")
    group.add_argument("--workers", type=int, metavar="N", help="default: one a processor")


def run(arguments: argparse.Namespace) -> int:
    """Detect by Ray; results and rejects are Parquet files below --output."""
    if arguments.json:
        raise LookonceError("--engine ray writes Parquet files below --output; --json goes with the others.")
    import onnx
    from rich.console import Console
    from rich.progress import Progress

    from lookonce.darknet_pair import adjusted
    from lookonce.fleet import detect_fleet
    from lookonce.inference.opening import open_graph
    from lookonce.model_card import ModelCard
    from lookonce.onnx_graph import metadata_of, write_card

    content = open_graph(arguments.model, arguments.weights)
    card = ModelCard.of_metadata(metadata_of(content), arguments.model)
    graph = onnx.load_from_string(content)
    write_card(graph, adjusted(card, Path(arguments.model), arguments.classes, arguments.resize))
    with Progress(console=Console(stderr=True), transient=not sys.stderr.isatty()) as bar:
        task = bar.add_task("Pictures", total=None)
        summary = detect_fleet(
            graph.SerializeToString(),
            arguments.source,
            arguments.output,
            conf=arguments.conf,
            iou=arguments.iou,
            address=arguments.address,
            workers=arguments.workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    rate = summary.pictures / max(summary.seconds, 1e-9)
    before = f", {summary.before} were done before" if summary.before else ""
    print(
        f"{summary.pictures} pictures, {summary.objects} objects, {summary.rejects} rejected, "
        f"{rate:.1f} pictures a second{before}; Parquet files in {arguments.output}"
    )
    return 1 if summary.rejects else 0
