"""`lookonce data`: check labelled images before training."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from lookonce.labels import CheckedDataset

EXAMPLES = """examples:
  lookonce data check my-vott-export
  lookonce data check data/voc --class-path custom_classes.txt --full
  lookonce data check data/voc --json findings.json
"""
_ROWS = 40
_STYLES = {"fatal": "bold red", "dropped": "yellow", "repaired": "cyan", "note": "dim"}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "data",
        help="check labelled images",
        description="Check labelled images before training.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    checking = actions.add_parser(
        "check",
        help="report findings, each with file, object and fix",
        description="Check every label and image without changing files. Exit 1 if a finding is fatal.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    checking.add_argument("data", metavar="DATA", help="folder of labelled images")
    checking.add_argument("--class-path", metavar="FILE", help="class names, one per line")
    checking.add_argument("--json", metavar="FILE", help="write all findings and counts as JSON")
    checking.add_argument("--full", action="store_true", help="decode every image; default: headers only")
    checking.set_defaults(run=run_check)


def run_check(arguments: argparse.Namespace) -> int:
    """Check a dataset and print the findings; return 1 if one is fatal."""
    from rich.console import Console
    from rich.progress import Progress

    from lookonce.labels import Dataset, check, read_classes

    dataset = Dataset.open(arguments.data)
    classes = read_classes(arguments.class_path) if arguments.class_path else None
    console = Console()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("checking")
        checked = check(
            dataset,
            classes,
            lambda done, total: bar.update(task, completed=done, total=total),
            full=arguments.full,
        )
    _print_findings(checked, console)
    _print_counts(checked, console)
    if arguments.json:
        _write_json(checked, arguments.json)
    return int(any(finding.outcome == "fatal" for finding in checked.findings))


def _print_findings(checked: CheckedDataset, console: Console) -> None:
    """Print the worst findings first; cut long runs of one kind to a count."""
    from rich.table import Table
    from rich.text import Text

    order = list(_STYLES)
    findings = sorted(checked.findings, key=lambda finding: order.index(finding.outcome))
    if not findings:
        console.print("No findings: all labels and images are valid.")
        return
    table = Table("outcome", "where", "found; fix")
    # File names are folded, not cut: a cut name cannot be searched for.
    table.columns[1].overflow = "fold"
    table.columns[1].min_width = min(console.width // 2 - 8, max(len(finding.file) for finding in findings))
    shown: dict[tuple[str, str], int] = {}
    rows = 0
    for finding in findings:
        kind = (finding.outcome, finding.fix)
        shown[kind] = shown.get(kind, 0) + 1
        if rows < _ROWS and shown[kind] <= _ROWS // 4:
            where = "\n".join(filter(None, (finding.file, finding.object)))
            cells = (where, "; ".join(filter(None, (finding.what, finding.fix))))
            table.add_row(finding.outcome, *map(Text, cells), style=_STYLES[finding.outcome])
            rows += 1
    console.print(table)
    if rows < len(findings):
        console.print(f"and {len(findings) - rows} more; --json FILE writes all {len(findings)}")


def _print_counts(checked: CheckedDataset, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    splits = _split_indices(checked)
    title = f"{checked.dataset.name}: {len(checked.records)} images, {checked.dataset.format}"
    console.print(Text(title))
    table = Table("class", *splits)
    for column in table.columns[1:]:
        column.justify = "right"
    counts = _box_counts(checked)
    for name in checked.class_names:
        table.add_row(Text(name), *(str(counts[split][name]) for split in splits))
    table.add_section()
    table.add_row("boxes", *(str(sum(counts[split].values())) for split in splits))
    table.add_row("images", *(str(len(indices)) for indices in splits.values()))
    console.print(table)
    if not checked.dataset.splits:
        console.print("The dataset has no lists: train and val are a seeded 80/20 split.")
    fatal, dropped, repaired, notes = (
        sum(finding.outcome == outcome for finding in checked.findings) for outcome in _STYLES
    )
    console.print(
        f"{fatal} fatal, {dropped} dropped, {repaired} repaired, {notes} note{'s' * (notes != 1)}; "
        f"{len(checked.dropped)} images left out"
    )


def _split_indices(checked: CheckedDataset) -> dict[str, list[int]]:
    listed = checked.dataset.splits or {name: checked.dataset.split(name) for name in ("train", "val")}
    splits = {name: checked.indices(indices) for name, indices in listed.items()}
    return {**splits, "all": checked.indices(range(len(checked.records)))}


def _box_counts(checked: CheckedDataset) -> dict[str, dict[str, int]]:
    import numpy as np

    counts = {}
    for split, indices in _split_indices(checked).items():
        classes = [checked.records[index].classes for index in indices]
        each = np.bincount(
            np.concatenate([np.zeros(0, np.int64), *classes]), minlength=len(checked.class_names)
        )
        counts[split] = dict(zip(checked.class_names, each.tolist(), strict=True))
    return counts


def _write_json(checked: CheckedDataset, file: str) -> None:
    import json
    from dataclasses import asdict
    from pathlib import Path

    from lookonce.errors import LookonceError

    report = {
        "dataset": checked.dataset.name,
        "format": checked.dataset.format,
        "classes": checked.class_names,
        "images": {name: len(indices) for name, indices in _split_indices(checked).items()},
        "boxes": _box_counts(checked),
        "dropped": [checked.records[index].name for index in sorted(checked.dropped)],
        "findings": [asdict(finding) for finding in checked.findings],
    }
    try:
        Path(file).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise LookonceError(
            f"{file}: cannot be written ({error.strerror}); choose another file with --json"
        ) from error
