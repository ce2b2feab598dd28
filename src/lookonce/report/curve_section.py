"""The report's section on loss, average precision, learning rate and time by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from lookonce.report.chart import Axis, Chart, Points, epochs_axis, linear, logarithmic, series_colour, unit
from lookonce.report.markup import Markup, element, note, section, table
from lookonce.report.words import count, decimal, duration
from lookonce.runs.record import EpochTime

Rows = Sequence[Mapping[str, float]]

# Columns of metrics.csv and their names in the report.
SCORES = (("val_map", "AP50"), ("val_ap", "AP"), ("val_ap75", "AP75"))
_RATES = ("learning_rate", "lr")
# Use a logarithmic axis if the largest value exceeds the smallest by this factor.
_LOG_FROM = 8
_MAX_ROWS = 300


def column(rows: Rows, name: str) -> list[tuple[float, float]]:
    """Return (epoch, value) of the rows that have the column, NaN included."""
    return [(row["epoch"], row[name]) for row in rows if name in row]


def curves_section(rows: Rows, best_epoch: int | None, times: Sequence[EpochTime]) -> Markup:
    """Return the charts by epoch and a table of their values."""
    charts = [_loss(rows, best_epoch), _scores(rows, best_epoch), _rate(rows), _seconds(times)]
    shown = [chart for chart in charts if chart is not None]
    return section(
        "curves",
        "Training curves",
        element("div", *shown, class_="trio" if len(shown) == 3 else "pair"),
        _epoch_table(rows, times),
        lead="The loss should decrease and the average precision increase. The saved model is the one of the "
        "best epoch, not the last."
        if best_epoch is not None
        else "The loss should decrease. Without validation images the best epoch is unknown, so the saved model "
        "is the one of the last epoch.",
    )


def _loss(rows: Rows, best_epoch: int | None) -> Markup | None:
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if "loss" in name]
    lines = {name: column(rows, name) for name in names}
    values = [y for points in lines.values() for _, y in points if math.isfinite(y)]
    if not values:
        return None
    chart = Chart("Loss", epochs_axis([row["epoch"] for row in rows]), value_axis("mean per batch", values))
    stage_rules(chart, rows)
    for index, (name, points) in enumerate(lines.items()):
        chart.line(points, series_colour(index), name.replace("_", " ") if len(lines) > 1 else None, index)
        chart.hints((x, y, f"epoch {x:g}: {name} {y:.4g}") for x, y in _thinned(points))
    first, last = _ends(lines[names[0]])
    return chart.figure(
        f"Loss by epoch: {first:.4g} after the first epoch, {last:.4g} after the last of {len(rows)}."
    )


def _scores(rows: Rows, best_epoch: int | None) -> Markup | None:
    lines = [(index, label, column(rows, name)) for index, (name, label) in enumerate(SCORES)]
    if not any(math.isfinite(y) for _, _, points in lines for _, y in points):
        return None
    chart = Chart(
        "Average precision", epochs_axis([row["epoch"] for row in rows]), unit("on validation images")
    )
    stage_rules(chart, rows)
    for index, label, points in lines:
        if points:
            chart.line(points, series_colour(index + 1), label, index)
            chart.hints((x, y, f"epoch {x:g}: {label} {y:.3f}") for x, y in _thinned(points))
    best = next((y for x, y in lines[0][2] if x == best_epoch and math.isfinite(y)), None)
    best_text = ""
    if best is not None and best_epoch is not None:
        chart.mark(best_epoch, best, f"best {best:.3f}, epoch {best_epoch}")
        best_text = f" Best AP50: {best:.3f}, epoch {best_epoch}."
    first, last = _ends(lines[0][2])
    return chart.figure(
        f"Average precision by epoch: AP50 {decimal(first)} after the first epoch, {decimal(last)} after the last."
        + best_text
    )


def _rate(rows: Rows) -> Markup | None:
    name = next((one for one in _RATES if any(one in row for row in rows)), None)
    points = [point for point in column(rows, name) if math.isfinite(point[1])] if name else []
    if not points:
        return None
    chart = Chart(
        "Learning rate",
        epochs_axis([row["epoch"] for row in rows]),
        linear("at the end of each epoch", 0, max(y for _, y in points)),
    )
    chart.line(points, series_colour(3), None)
    chart.hints((x, y, f"epoch {x:g}: {y:.3g}") for x, y in _thinned(points))
    return chart.figure(
        f"Learning rate by epoch: at most {max(y for _, y in points):.3g}, {points[-1][1]:.3g} at the end."
    )


def _seconds(times: Sequence[EpochTime]) -> Markup | None:
    if not times:
        return None
    longest = max(one.seconds for one in times)
    first, last = times[0].epoch, times[-1].epoch
    ticks = epochs_axis([first, last]).ticks
    chart = Chart(
        "Time", Axis("epoch", first - 0.5, last + 0.5, ticks), linear("seconds per epoch", 0, longest)
    )
    wide = 0.4 if last - first < 60 else 0.5
    for part, colour, start in (
        ("training", series_colour(1), False),
        ("validation", series_colour(4), True),
    ):
        bars = []
        for one in times:
            training = max(0.0, one.seconds - one.validation)
            low, high = (training, one.seconds) if start else (0.0, training)
            bars.append((one.epoch - wide, one.epoch + wide, low, high))
        chart.bars(bars, colour)
        if any(one.validation for one in times):
            chart.key(part, colour, area=True)
    total = sum(one.seconds for one in times)
    return chart.figure(
        f"Seconds per epoch: {total / len(times):.1f} on average, {longest:.1f} at most.",
        f"{duration(total)} in total; the first epoch includes compilation and start-up."
        if len(times) > 1
        else None,
    )


def value_axis(label: str, values: Sequence[float]) -> Axis:
    """Return an axis from 0, or a logarithmic one if the values span a wide range."""
    low, high = min(values), max(values)
    if low > 0 and high > _LOG_FROM * low:
        return logarithmic(label, low, high)
    return linear(label, min(0.0, low), high if high > min(0.0, low) else low + 1)


def stage_rules(chart: Chart, rows: Rows) -> None:
    """Draw a line at each change of training stage."""
    for before, after in pairwise(rows):
        if "stage" in before and "stage" in after and before["stage"] != after["stage"]:
            x = (before["epoch"] + after["epoch"]) / 2
            chart.rule((x, chart.y.low), (x, chart.y.high), "all layers trainable from here")


def _thinned(points: Points, most: int = 120) -> Points:
    return points[:: max(1, -(-len(points) // most))]


def _ends(points: Points) -> tuple[float, float]:
    finite = [y for _, y in points if math.isfinite(y)]
    return (finite[0], finite[-1]) if finite else (math.nan, math.nan)


def _epoch_table(rows: Rows, times: Sequence[EpochTime]) -> Markup | None:
    if not rows:
        return None
    names = [
        name for name in dict.fromkeys(key for row in rows for key in row) if name not in ("epoch", "stage")
    ]
    seconds = {one.epoch: one.seconds for one in times}
    heads = ["epoch", *(dict(SCORES).get(name, name.replace("_", " ")) for name in names)]
    heads += ["seconds"] if times else []
    body = []
    for row in rows[:_MAX_ROWS]:
        cells = [f"{row['epoch']:g}", *(f"{row[name]:.4g}" if name in row else "" for name in names)]
        body.append(
            cells
            + ([f"{seconds[int(row['epoch'])]:.1f}" if int(row["epoch"]) in seconds else ""] if times else [])
        )
    more = (
        f"See metrics.csv for the other {len(rows) - _MAX_ROWS:,} epochs." if len(rows) > _MAX_ROWS else None
    )
    return element(
        "details",
        element("summary", f"Values of {count(len(rows), 'epoch')}"),
        table("Values by epoch", heads, body, range(len(heads))),
        note(more),
    )
