"""`lookonce evaluate`: measure a model on labelled images."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.cli.model_arguments import add_model_arguments, open_detector

if TYPE_CHECKING:
    from lookonce.evaluation import Metrics

_EXAMPLES = """examples:
  lookonce evaluate outputs/model.keras data/raccoons
  lookonce evaluate outputs/model.keras data/raccoons --split val --json metrics.json --plots plots/
"""


def add_parser(commands: Any) -> None:
    """Add `evaluate` to the command line."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a model on labelled images",
        description="Print COCO AP, AP50, AP75, VOC mAP, precision and recall at one confidence, per class.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser)
    parser.add_argument("data", metavar="DATA", help="folder of labelled images")
    parser.add_argument(
        "--split",
        default="test",
        help="split to measure on, or 'all' for every image (default: %(default)s)",
    )
    parser.add_argument(
        "--conf",
        type=float,
        default=0.3,
        help="score threshold of precision, recall and F1 (default: 0.3)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the split, if the dataset has no lists (default: 0)"
    )
    parser.add_argument("--json", metavar="FILE", help="write all metrics as JSON")
    parser.add_argument(
        "--plots",
        metavar="DIR",
        help="write precision-recall and confusion plots, and the worst and best images",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure a model, print a table, write JSON and plots if requested."""
    from rich.console import Console
    from rich.progress import Progress

    from lookonce.evaluation.validation import AP_CONFIDENCE, Validation
    from lookonce.io.atomic import write_text

    detector = open_detector(arguments, AP_CONFIDENCE, many=True)
    split = None if arguments.split == "all" else arguments.split
    validation = Validation.of_split(arguments.data, detector.names, split, arguments.seed)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Detecting")
        measured = validation.measure(
            detector, arguments.conf, lambda done, total: bar.update(task, completed=done, total=total)
        )
    _print(measured.metrics)
    if arguments.json:
        about = {"model": str(arguments.model), "data": str(arguments.data), "split": arguments.split}
        text = json.dumps({**about, **measured.metrics.to_json()}, indent=1, ensure_ascii=False)
        write_text(Path(arguments.json), text + "\n")
    if arguments.plots:
        validation.write_plots(measured, Path(arguments.plots))
        print(f"Plots in {arguments.plots}")
    return 0


def _print(metrics: Metrics) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    heads = ("objects", "AP", "AP50", "AP75", "precision", "recall", "F1")
    table = Table("class", box=box.SIMPLE_HEAD, title=f"{metrics.images} images")
    for name in heads:
        table.add_column(name, justify="right")
    shown = [one for one in metrics.classes if one.objects or one.false_positives]
    for one in shown:
        table.add_row(one.name, str(one.objects), *_row(one))
    table.add_section()
    table.add_row("all", str(metrics.objects), *_row(metrics), style="bold")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"VOC mAP at IoU 0.5: {_number(metrics.voc_area)} (area), {_number(metrics.voc_11)} (11 points), "
        f"{_number(metrics.voc_101)} (101 points)\n"
        f"Precision, recall and F1 at confidence {metrics.confidence:g}; the best F1, "
        f"{_number(metrics.best_f1)}, is at confidence {_number(metrics.best_confidence)}",
        soft_wrap=True,
    )


def _row(one: Any) -> list[str]:
    return [_number(value) for value in (one.ap, one.ap50, one.ap75, one.precision, one.recall, one.f1)]


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
