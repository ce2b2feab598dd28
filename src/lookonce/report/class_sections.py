"""How well each class is found, and what it is mistaken for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lookonce.evaluation import Curve, Metrics, confusion_matrix
from lookonce.report.chart import Chart, class_colour, swatch_colour, unit
from lookonce.report.facts import RunFacts
from lookonce.report.markup import Markup, cut, element, joined, name, note, scrolling, section, swatch, table
from lookonce.report.words import count, figure

_MOST_ROWS = 100
_MOST_LINES = 12
_MOST_CONFUSED = 16
_RECALLS = np.linspace(0, 1, 101)


def classes_section(metrics: Metrics) -> Markup:
    """A table, and precision against recall."""
    shown = [(label, one) for label, one in enumerate(metrics.classes) if one.objects or one.false_positives]
    left_out = len(shown) - _MOST_ROWS
    if left_out > 0:
        shown = sorted(shown, key=lambda pair: pair[1].ap50 if pair[1].objects else math.inf)[:_MOST_ROWS]
    heads = ("class", "objects", "AP50", "AP", "AP75", "precision", "recall", "F1")
    rows = [
        [joined([swatch(swatch_colour(label)), name(one.name)]), f"{one.objects:,}",
         *(figure(value) for value in (one.ap50, one.ap, one.ap75, one.precision, one.recall, one.f1))]
        for label, one in shown
    ]  # fmt: skip
    whole = (metrics.ap50, metrics.ap, metrics.ap75, metrics.precision, metrics.recall, metrics.f1)
    rows.append(
        [element("b", "all"), f"{metrics.objects:,}", *(element("b", figure(value)) for value in whole)]
    )
    small = f"The {_MOST_ROWS} with the lowest AP50; {left_out} more are better." if left_out > 0 else None
    return section(
        "classes",
        "Class by class",
        element(
            "div",
            element(
                "div",
                table("Figures of each class", heads, rows, range(1, len(heads)), "figures"),
                note(small),
            ),
            _curve_chart(metrics),
            class_="pair wide-left",
        ),
        lead="Precision is the share of what was found that is right, recall the share of the labelled "
        f"objects that was found; in the table at confidence {metrics.confidence:g}. A lower one finds more "
        "and errs more: the curve shows every choice, and AP50 is the area under it.",
    )


def _curve_chart(metrics: Metrics) -> Markup:
    chart = Chart("Precision and recall", unit("recall"), unit("precision at IoU 0.5"), 330)
    present = [(label, one) for label, one in enumerate(metrics.classes) if one.objects]
    envelopes = [_envelope(metrics.curves[label]) for label, _ in present]
    few = len(present) <= _MOST_LINES
    for index, ((label, one), envelope) in enumerate(zip(present, envelopes, strict=True)):
        points = list(zip(_RECALLS.tolist(), envelope.tolist(), strict=True))
        key = joined([name(one.name), f" {figure(one.ap50, 2)}"]) if few else None
        chart.line(
            points,
            class_colour(label) if few else "var(--edge)",
            key,
            index if few else 0,
            1.8 if few else 0.7,
        )
    if not envelopes:
        return chart.figure("No curve: no labelled object in the validation images.", "No labelled object.")
    mean = np.mean(envelopes, axis=0)
    if len(present) > 1:
        points = list(zip(_RECALLS.tolist(), mean.tolist(), strict=True))
        chart.line(points, "var(--text)", f"all classes {figure(metrics.ap50, 2)}", 0, 3)
    if not math.isnan(metrics.precision) and not math.isnan(metrics.recall):
        chart.mark(metrics.recall, metrics.precision, f"at confidence {metrics.confidence:g}")
    best = max(present, key=lambda pair: pair[1].ap50)[1]
    worst = min(present, key=lambda pair: pair[1].ap50)[1]
    alt = (
        f"Precision against recall of {count(len(present), 'class', 'classes')}. AP50 from "
        f"{figure(worst.ap50)} ({cut(worst.name)}) to {figure(best.ap50)} ({cut(best.name)})."
    )
    return chart.figure(alt)


def _envelope(curve: Curve) -> NDArray[np.float64]:
    """The best precision at each of 101 recalls or above."""
    falling = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return np.append(falling, 0.0)[np.searchsorted(curve.recall, _RECALLS)]


def confusion_section(run: RunFacts, metrics: Metrics) -> Markup:
    """A table whose cells are as strong as their share of the row."""
    names = [one.name for one in metrics.classes]
    counts = confusion_matrix(run.truths, run.predictions, len(names), metrics.confidence)
    errors = counts + counts.T
    np.fill_diagonal(errors, 0)
    occurring = np.nonzero((counts + counts.T).sum(axis=0)[:-1])[0]
    most = occurring[np.argsort(-errors.sum(axis=0)[occurring], kind="stable")][:_MOST_CONFUSED]
    shown = [*sorted(most.tolist()), len(names)]
    left_out = len(occurring) - len(most)
    labels = [*(name(names[index]) for index in shown[:-1]), element("i", "nothing")]
    head = element(
        "tr",
        element("td", "labelled ↓", element("br"), "found →", class_="corner"),
        *(element("th", element("span", label), scope="col") for label in labels),
    )
    totals = np.maximum(counts.sum(axis=1), 1)
    body = []
    for label, row in zip(labels, shown, strict=True):
        cells = []
        for column in shown:
            times, right = int(counts[row, column]), row == column
            share = times / totals[row]
            nothing = row == column == len(names)
            style = f"--share:{100 * share:.0f}%" if times else None
            cells.append(
                element(
                    "td",
                    "" if nothing else f"{times:,}" if times else "·",
                    style=style,
                    class_="right" if right else "wrong",
                )
            )
        body.append(element("tr", element("th", element("span", label), scope="row"), *cells))
    caption = f"Labelled objects by what was found in their place, above confidence {metrics.confidence:g}"
    matrix = element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", head),
        element("tbody", *body),
        class_="matrix" + (" many" if len(shown) > 7 else ""),
    )
    small = (
        f"The {_MOST_CONFUSED} classes with the most errors; {left_out} more are left out."
        if left_out
        else None
    )
    return section(
        "confusion",
        "What is mistaken for what",
        scrolling(matrix, caption),
        note(small),
        lead="Each row is what was labelled, each column what was found there, above confidence "
        f"{metrics.confidence:g}. In the last column are the objects that were missed, in the last row the "
        "detections where nothing is labelled.",
    )
