"""The part on the training itself: loss, average precision, learning rate and seconds, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from lookonce.report.chart import Axis, Chart, Points, epochs_axis, linear, logarithmic, series_colour, unit
from lookonce.report.markup import Markup, element, note, section, table
from lookonce.report.words import count, duration, figure
from lookonce.runs.record import EpochTime

Rows = Sequence[Mapping[str, float]]

# Columns of metrics.csv, and what people call them.
SCORES = (("val_map", "AP50"), ("val_ap", "AP"), ("val_ap75", "AP75"))
_RATES = ("learning_rate", "lr")
# A first epoch this many times above the last would press the rest flat.
_LOG_FROM = 8
_MOST_ROWS = 300


def column(rows: Rows, name: str) -> list[tuple[float, float]]:
    """(epoch, value) of the rows that have it; NaN stays, as a gap."""
    return [(row["epoch"], row[name]) for row in rows if name in row]


def curves_section(rows: Rows, best_epoch: int | None, times: Sequence[EpochTime]) -> Markup:
    """Charts side by side, and every figure behind them."""
    charts = [_loss(rows, best_epoch), _scores(rows, best_epoch), _rate(rows), _seconds(times)]
    shown = [chart for chart in charts if chart is not None]
    return section(
        "curves",
        "Training, epoch by epoch",
        element("div", *shown, class_="trio" if len(shown) == 3 else "pair"),
        _every_figure(rows, times),
        lead="The loss should fall and the average precision rise. The model that was kept is the one of the "
        "best epoch, not of the last."
        if best_epoch is not None
        else "The loss should fall. Without validation images nothing tells which epoch was best: the last "
        "is kept.",
    )


def _loss(rows: Rows, best_epoch: int | None) -> Markup | None:
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if "loss" in name]
    lines = {name: column(rows, name) for name in names}
    values = [y for points in lines.values() for _, y in points if math.isfinite(y)]
    if not values:
        return None
    chart = Chart("Loss", epochs_axis([row["epoch"] for row in rows]), value_axis("a batch's mean", values))
    stage_rules(chart, rows)
    for index, (name, points) in enumerate(lines.items()):
        chart.line(points, series_colour(index), name.replace("_", " ") if len(lines) > 1 else None, index)
        chart.hints((x, y, f"epoch {x:g}: {name} {y:.4g}") for x, y in _some(points))
    first, last = _ends(lines[names[0]])
    return chart.figure(
        f"Loss by epoch: {first:.4g} after the first, {last:.4g} after the last of {len(rows)}."
    )


def _scores(rows: Rows, best_epoch: int | None) -> Markup | None:
    lines = [(index, label, column(rows, name)) for index, (name, label) in enumerate(SCORES)]
    if not any(math.isfinite(y) for _, _, points in lines for _, y in points):
        return None
    chart = Chart(
        "Average precision", epochs_axis([row["epoch"] for row in rows]), unit("on the validation images")
    )
    stage_rules(chart, rows)
    for index, label, points in lines:
        if points:
            chart.line(points, series_colour(index + 1), label, index)
            chart.hints((x, y, f"epoch {x:g}: {label} {y:.3f}") for x, y in _some(points))
    best = next((y for x, y in lines[0][2] if x == best_epoch and math.isfinite(y)), None)
    said = ""
    if best is not None and best_epoch is not None:
        chart.mark(best_epoch, best, f"best {best:.3f}, epoch {best_epoch}")
        said = f" The best AP50, {best:.3f}, is that of epoch {best_epoch}."
    first, last = _ends(lines[0][2])
    return chart.figure(
        f"Average precision by epoch: AP50 {figure(first)} after the first, {figure(last)} after the last."
        + said
    )


def _rate(rows: Rows) -> Markup | None:
    name = next((one for one in _RATES if any(one in row for row in rows)), None)
    points = [point for point in column(rows, name) if math.isfinite(point[1])] if name else []
    if not points:
        return None
    chart = Chart(
        "Learning rate",
        epochs_axis([row["epoch"] for row in rows]),
        linear("at each epoch's end", 0, max(y for _, y in points)),
    )
    chart.line(points, series_colour(3), None)
    chart.hints((x, y, f"epoch {x:g}: {y:.3g}") for x, y in _some(points))
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
        "Time", Axis("epoch", first - 0.5, last + 0.5, ticks), linear("seconds an epoch", 0, longest)
    )
    wide = 0.4 if last - first < 60 else 0.5
    for part, colour, start in (
        ("training", series_colour(1), False),
        ("validation", series_colour(4), True),
    ):
        bars = []
        for one in times:
            learning = max(0.0, one.seconds - one.validation)
            low, high = (learning, one.seconds) if start else (0.0, learning)
            bars.append((one.epoch - wide, one.epoch + wide, low, high))
        chart.bars(bars, colour)
        if any(one.validation for one in times):
            chart.key(part, colour, area=True)
    whole = sum(one.seconds for one in times)
    return chart.figure(
        f"Seconds an epoch: {whole / len(times):.1f} in the mean, {longest:.1f} at most.",
        f"{duration(whole)} in all; the first epoch holds the time to get going." if len(times) > 1 else None,
    )


def value_axis(label: str, values: Sequence[float]) -> Axis:
    """From 0, or logarithmic where the values span too much for that."""
    low, high = min(values), max(values)
    if low > 0 and high > _LOG_FROM * low:
        return logarithmic(label, low, high)
    return linear(label, min(0.0, low), high if high > min(0.0, low) else low + 1)


def stage_rules(chart: Chart, rows: Rows) -> None:
    """A line where the frozen layers were released."""
    for before, after in pairwise(rows):
        if "stage" in before and "stage" in after and before["stage"] != after["stage"]:
            x = (before["epoch"] + after["epoch"]) / 2
            chart.rule((x, chart.y.low), (x, chart.y.high), "from here on all layers learn")


def _some(points: Points, most: int = 120) -> Points:
    return points[:: max(1, -(-len(points) // most))]


def _ends(points: Points) -> tuple[float, float]:
    finite = [y for _, y in points if math.isfinite(y)]
    return (finite[0], finite[-1]) if finite else (math.nan, math.nan)


def _every_figure(rows: Rows, times: Sequence[EpochTime]) -> Markup | None:
    if not rows:
        return None
    names = [
        name for name in dict.fromkeys(key for row in rows for key in row) if name not in ("epoch", "stage")
    ]
    seconds = {one.epoch: one.seconds for one in times}
    heads = ["epoch", *(dict(SCORES).get(name, name.replace("_", " ")) for name in names)]
    heads += ["seconds"] if times else []
    body = []
    for row in rows[:_MOST_ROWS]:
        cells = [f"{row['epoch']:g}", *(f"{row[name]:.4g}" if name in row else "" for name in names)]
        body.append(
            cells
            + ([f"{seconds[int(row['epoch'])]:.1f}" if int(row["epoch"]) in seconds else ""] if times else [])
        )
    more = f"metrics.csv has the other {len(rows) - _MOST_ROWS:,}." if len(rows) > _MOST_ROWS else None
    return element(
        "details",
        element("summary", f"The figures of {count(len(rows), 'epoch')}"),
        table("Figures by epoch", heads, body, range(len(heads))),
        note(more),
    )
