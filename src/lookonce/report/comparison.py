"""The comparison page: metrics, curves and settings of several runs."""

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
from lookonce.report.words import UNKNOWN, clock, count, decimal
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
# Indices of the average precisions in HEADS.
SCORE_COLUMNS = (4, 5, 6)
LETTERS_NOTE = "Runs with the same letter used the same images and labels."
_MAX_VALUE = 60
_SHA256_DIGITS = 64


def table_rows(runs: Sequence[Run]) -> list[list[str]]:
    """Return one table row per run, with the columns of HEADS."""
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
                *(decimal(best.get(key)) for key, _ in SCORES),
                UNKNOWN if run.parameters is None else f"{run.parameters / 1e6:.2f} M",
                UNKNOWN if run.seconds is None else clock(run.seconds),
                train[index] or UNKNOWN,
                val[index] or UNKNOWN,
            ]
        )
    return rows


def best_rows(rows: Sequence[Sequence[str]], index: int) -> set[int]:
    """Return the rows with the highest value in a column; empty if validation data differ between runs."""
    if len({row[-1] for row in rows} - {UNKNOWN}) > 1:
        return set()
    values = [math.nan if row[index] == UNKNOWN else float(row[index]) for row in rows]
    known = [value for value in values if not math.isnan(value)]
    return {place for place, value in enumerate(values) if known and value == max(known)}


def format_setting(value: Any) -> str:
    """Format a setting for a table, shortening long values."""
    if value is None:
        return UNKNOWN
    text = str(value)
    if len(text) == _SHA256_DIGITS and set(text) <= set("0123456789abcdef"):
        return text[:8]
    return cut(text, _MAX_VALUE)


def write_comparison(runs: Sequence[Run], path: Path) -> None:
    """Write the comparison page to `path`.

    Raises:
        LookonceError: The file cannot be written.
    """
    alerts = [element("p", one, class_="warning", role="alert") for one in warnings(runs)]
    parts = [
        ("Runs", section("runs", "Runs", *alerts, _table(runs), note(LETTERS_NOTE))),
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
    rows = table_rows(runs)
    winners = {index: best_rows(rows, index) for index in SCORE_COLUMNS}
    body: list[list[Markup | str]] = []
    for place, row in enumerate(rows):
        first = joined([swatch(series_colour(place)), name(row[0])])
        rest = [
            element("b", cell) if place in winners.get(index, ()) else cell
            for index, cell in enumerate(row[1:], 1)
        ]
        body.append([first, name(row[1]), *rest[1:]])
    return table("Metrics of each run's best epoch", HEADS, body, range(2, len(HEADS)), "runs")


def _curves(runs: Sequence[Run]) -> Markup:
    charts = [_chart(runs, key, label) for key, label in (*SCORES, ("loss", "Loss"))]
    drawn = [chart for chart in charts if chart is not None]
    recipes = {(run.settings.get("loss"), run.model, run.settings.get("size")) for run in runs}
    return section(
        "curves",
        "Curves by epoch",
        element("div", *drawn, class_="pair"),
        note(
            "Losses are not comparable between different models, input sizes or loss functions."
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
        scale = value_axis("mean per batch", values)
    else:
        scale = linear("on validation images", 0, max(max(values), 0.01))
    chart = Chart(label, x, scale)
    for index, (run, points) in enumerate(zip(runs, lines, strict=True)):
        if points:
            chart.line(points, series_colour(index), name(run.name), index)
    ends = "; ".join(
        f"{cut(run.name)} {points[-1][1]:.3g}" for run, points in zip(runs, lines, strict=True) if points
    )
    return chart.figure(f"{label} by epoch. Last epoch: {ends}.")


def _settings(runs: Sequence[Run]) -> Markup:
    different = differing(runs)
    heads = ("setting", *(name(run.name) for run in runs))
    rows = [[element("code", key), *map(format_setting, values)] for key, values in different.items()]
    same = [
        [element("code", key), format_setting(value)]
        for key, value in runs[0].settings.items()
        if key not in different
    ]
    none = element("p", "All settings are the same.", class_="statement")
    common = element(
        "details",
        element("summary", f"{count(len(same), 'setting')} with the same value in all runs"),
        table("Settings with the same value in all runs", ("setting", "value"), same, (), "settings"),
    )
    return section(
        "settings",
        "Settings that differ",
        table("Settings that differ", heads, rows, (), "settings") if rows else none,
        common if same else None,
    )
