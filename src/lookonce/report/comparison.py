"""Several runs on one page, their curves over each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lookonce.io.atomic import write_text
from lookonce.report.chart import Chart, epochs_axis, linear, series_colour
from lookonce.report.curve_section import SCORES, column, value_axis
from lookonce.report.markup import Markup, cut, element, joined, name, note, section, swatch, table
from lookonce.report.page_frame import page
from lookonce.report.words import UNKNOWN, clock, count, figure
from lookonce.runs.reader import Run, differing, groups, same_training, same_validation, warnings

HEADS = (
    "run",
    "model",
    "epochs",
    "best epoch",
    "AP50",
    "AP",
    "AP75",
    "parameters",
    "time",
    "train data",
    "val data",
)
# Columns of these.
SCORED = (4, 5, 6)
LETTERS = "Equal letters: the same images with the same labels."
_LONGEST_VALUE = 60
_SHA256 = 64


def cells(runs: Sequence[Run]) -> list[list[str]]:
    """A row a run, under HEADS."""
    train = groups(runs, same_training, lambda run: run.train_sha256)
    val = groups(runs, same_validation, lambda run: run.validated)
    rows = []
    for index, run in enumerate(runs):
        best = run.best or {}
        rows.append(
            [
                run.name,
                run.model,
                str(len(run.rows)),
                f"{best['epoch']:g}" if best else UNKNOWN,
                *(figure(best.get(key)) for key, _ in SCORES),
                UNKNOWN if run.parameters is None else f"{run.parameters / 1e6:.2f} M",
                UNKNOWN if run.seconds is None else clock(run.seconds),
                train[index] or UNKNOWN,
                val[index] or UNKNOWN,
            ]
        )
    return rows


def best_of(rows: Sequence[Sequence[str]], index: int) -> set[int]:
    """The rows of `cells` with the highest figure in a column; none where they were measured differently."""
    if len({row[-1] for row in rows} - {UNKNOWN}) > 1:
        return set()
    values = [math.nan if row[index] == UNKNOWN else float(row[index]) for row in rows]
    known = [value for value in values if not math.isnan(value)]
    return {place for place, value in enumerate(values) if known and value == max(known)}


def shown(value: Any) -> str:
    """A setting's value, short enough for a table."""
    if value is None:
        return UNKNOWN
    said = str(value)
    if len(said) == _SHA256 and set(said) <= set("0123456789abcdef"):
        return said[:8]
    return cut(said, _LONGEST_VALUE)


def write_comparison(runs: Sequence[Run], path: Path) -> None:
    """Write the page. Raises LookonceError when the file can't be written."""
    said = [element("p", one, class_="warning", role="alert") for one in warnings(runs)]
    parts = [
        ("Runs", section("runs", "Runs", *said, _table(runs), note(LETTERS))),
        ("Curves", _curves(runs)),
        ("Settings", _settings(runs)),
    ]
    title = joined(
        [
            f"{count(len(runs), 'run')}: ",
            *_with_commas([name(run.name) for run in runs[:4]]),
            ", …" if len(runs) > 4 else "",
        ]
    )
    write_text(path, page("Comparison", title, f"{count(len(runs), 'run')} compared", parts))


def _with_commas(names: Sequence[Markup]) -> list[Markup | str]:
    return [part for index, one in enumerate(names) for part in ((", " if index else ""), one)]


def _table(runs: Sequence[Run]) -> Markup:
    rows = cells(runs)
    winners = {index: best_of(rows, index) for index in SCORED}
    body: list[list[Markup | str]] = []
    for place, row in enumerate(rows):
        first = joined([swatch(series_colour(place)), name(row[0])])
        rest = [
            element("b", cell) if place in winners.get(index, ()) else cell
            for index, cell in enumerate(row[1:], 1)
        ]
        body.append([first, name(row[1]), *rest[1:]])
    return table("Runs with the figures of their best epoch", HEADS, body, range(2, len(HEADS)), "runs")


def _curves(runs: Sequence[Run]) -> Markup:
    charts = [_chart(runs, key, label) for key, label in (*SCORES, ("loss", "Loss"))]
    drawn = [chart for chart in charts if chart is not None]
    recipes = {(run.settings.get("loss"), run.model, run.settings.get("size")) for run in runs}
    return section(
        "curves",
        "Epoch by epoch",
        element("div", *drawn, class_="pair"),
        note(
            "Losses of different models, sizes or loss functions can't be compared."
            if len(recipes) > 1
            else None
        ),
    )


def _chart(runs: Sequence[Run], key: str, label: str) -> Markup | None:
    lines = [column(run.rows, key) for run in runs]
    values = [y for points in lines for _, y in points if math.isfinite(y)]
    if not values:
        return None
    x = epochs_axis([row["epoch"] for run in runs for row in run.rows])
    if key == "loss":
        scale = value_axis("a batch's mean", values)
    else:
        scale = linear("on the validation images", 0, max(max(values), 0.01))
    chart = Chart(label, x, scale)
    for index, (run, points) in enumerate(zip(runs, lines, strict=True)):
        if points:
            chart.line(points, series_colour(index), name(run.name), index)
    ends = "; ".join(
        f"{cut(run.name)} {points[-1][1]:.3g}" for run, points in zip(runs, lines, strict=True) if points
    )
    return chart.figure(f"{label} by epoch. After the last: {ends}.")


def _settings(runs: Sequence[Run]) -> Markup:
    different = differing(runs)
    heads = ("setting", *(name(run.name) for run in runs))
    rows = [[element("code", key), *map(shown, values)] for key, values in different.items()]
    same = [
        [element("code", key), shown(value)]
        for key, value in runs[0].settings.items()
        if key not in different
    ]
    none = element("p", "None: the runs had the same settings.", class_="says")
    common = element(
        "details",
        element("summary", f"{count(len(same), 'setting')} that all have in common"),
        table("Settings in common", ("setting", "value"), same, (), "settings"),
    )
    return section(
        "settings",
        "Settings that differ",
        table("Settings that differ", heads, rows, (), "settings") if rows else none,
        common if same else None,
    )
