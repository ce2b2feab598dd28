"""`lookonce compare`: trainings side by side."""

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
# Short, so that a terminal of 80 columns has room.
_HEADS = ("#", "run", "epochs", "best", "AP50", "AP", "AP75", "params", "time", "train", "val")


def add_parser(commands: Any) -> None:
    """Add `compare` to the command line."""
    parser = commands.add_parser(
        "compare",
        help="trainings side by side: figures, data, settings that differ",
        description="Set trainings against each other: their best epoch's average precision, whether they "
        "learned from and were validated on the same images, and the settings that differ.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a folder that train's --out named")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with the curves, too")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Read the runs, print two tables and what to beware of, write the page."""
    if len(arguments.runs) < 2:
        arguments.parser.error("one RUN has nothing to be compared with; give two or more")
    from rich.console import Console

    from lookonce.report.comparison import LETTERS, write_comparison
    from lookonce.runs.reader import read_runs, warnings

    runs = read_runs(arguments.runs)
    console = Console(highlight=False)
    _figures(runs, console)
    console.print(f"train, val: the data. {LETTERS}", style="dim", soft_wrap=True)
    _settings(runs, console)
    for warning in warnings(runs):
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    if arguments.html:
        write_comparison(runs, arguments.html)
        print(f"Written: {arguments.html}")
    return 0


def _figures(runs: Sequence[Run], console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from lookonce.report.comparison import SCORED, best_of, cells

    rows = cells(runs)
    winners = {index: best_of(rows, index) for index in SCORED}
    table = Table(box=box.SIMPLE_HEAD, title="Best epochs", collapse_padding=True)
    for index, head in enumerate(_HEADS):
        table.add_column(head, justify="left" if index == 1 else "right", overflow="fold")
    for place, row in enumerate(rows):
        style = {index: "bold" if place in of else "" for index, of in winners.items()}
        # Where models differ, the settings below say so.
        kept = [Text(cell, style.get(index, "")) for index, cell in enumerate(row) if index != 1]
        table.add_row(str(place + 1), *kept)
    console.print(table)


def _settings(runs: Sequence[Run], console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from lookonce.report.comparison import shown
    from lookonce.runs.reader import differing

    different = differing(runs)
    if not different:
        console.print("All settings are the same.")
        return
    table = Table("setting", box=box.SIMPLE_HEAD, title="Settings that differ")
    for place in range(len(runs)):
        table.add_column(f"#{place + 1}", overflow="fold")
    for key, values in different.items():
        table.add_row(Text(key), *(Text(shown(value)) for value in values))
    console.print(table)
