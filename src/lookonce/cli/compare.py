"""The command `lookonce compare`: compare training runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from lookonce.runs.reader import Run

_EXAMPLES = """examples:
  lookonce compare outputs other-outputs
  lookonce compare runs/* --html comparison.html
"""
# Short enough for an 80-column terminal.
_HEADS = ("#", "run", "epochs", "best", "AP50", "AP", "AP75", "params", "time", "train", "val")


def add_parser(commands: Any) -> None:
    """Add the `compare` subcommand."""
    parser = commands.add_parser(
        "compare",
        help="compare training runs: metrics, data and differing settings",
        description="Compare training runs: average precision of the best epoch, whether they used the same "
        "training and validation images, and the settings that differ.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="output folder of a training (--out of lookonce train)",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write an HTML page with curves")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Print metrics, differing settings and warnings; write the HTML page if requested."""
    if len(arguments.runs) < 2:
        arguments.parser.error("only one RUN given; give two or more")
    from rich.console import Console

    from lookonce.report.comparison import LETTERS_NOTE, write_comparison
    from lookonce.runs.reader import read_runs, warnings

    runs = read_runs(arguments.runs)
    console = Console(highlight=False)
    _metrics(runs, console)
    console.print(f"train, val: {LETTERS_NOTE}", style="dim", soft_wrap=True)
    _settings(runs, console)
    for warning in warnings(runs):
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    if arguments.html:
        write_comparison(runs, arguments.html)
        print(f"Written: {arguments.html}")
    return 0


def _metrics(runs: Sequence[Run], console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from lookonce.report.comparison import SCORE_COLUMNS, best_rows, table_rows

    rows = table_rows(runs)
    winners = {index: best_rows(rows, index) for index in SCORE_COLUMNS}
    table = Table(box=box.SIMPLE_HEAD, title="Best epochs", collapse_padding=True)
    for index, head in enumerate(_HEADS):
        table.add_column(head, justify="left" if index == 1 else "right", overflow="fold")
    for place, row in enumerate(rows):
        style = {index: "bold" if place in best else "" for index, best in winners.items()}
        # Omit the model: if it differs, the settings table lists it.
        texts = [Text(cell, style.get(index, "")) for index, cell in enumerate(row) if index != 1]
        table.add_row(str(place + 1), *texts)
    console.print(table)


def _settings(runs: Sequence[Run], console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from lookonce.report.comparison import format_setting
    from lookonce.runs.reader import differing

    different = differing(runs)
    if not different:
        console.print("All settings are the same.")
        return
    table = Table("setting", box=box.SIMPLE_HEAD, title="Settings that differ")
    for place in range(len(runs)):
        table.add_column(f"#{place + 1}", overflow="fold")
    for key, values in different.items():
        table.add_row(Text(key), *(Text(format_setting(value)) for value in values))
    console.print(table)
