"""The report's sections on metrics per class and on the confusion matrix."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lookonce.evaluation import Curve, Metrics, confusion_matrix
from lookonce.report.chart import Chart, class_colour, swatch_colour, unit
from lookonce.report.facts import RunFacts
from lookonce.report.markup import Markup, cut, element, joined, name, note, scrolling, section, swatch, table
from lookonce.report.words import count, decimal

_MAX_ROWS = 100
_MAX_LINES = 12
_MAX_CONFUSED = 16
_RECALLS = np.linspace(0, 1, 101)


def classes_section(metrics: Metrics) -> Markup:
    """Return a table of metrics per class and a precision-recall chart."""
    shown = [(label, one) for label, one in enumerate(metrics.classes) if one.objects or one.false_positives]
    left_out = len(shown) - _MAX_ROWS
    if left_out > 0:
        shown = sorted(shown, key=lambda pair: pair[1].ap50 if pair[1].objects else math.inf)[:_MAX_ROWS]
    heads = ("class", "objects", "AP50", "AP", "AP75", "precision", "recall", "F1")
    rows = [
        [joined([swatch(swatch_colour(label)), name(one.name)]), f"{one.objects:,}",
         *(decimal(value) for value in (one.ap50, one.ap, one.ap75, one.precision, one.recall, one.f1))]
        for label, one in shown
    ]  # fmt: skip
    overall = (metrics.ap50, metrics.ap, metrics.ap75, metrics.precision, metrics.recall, metrics.f1)
    rows.append(
        [element("b", "all"), f"{metrics.objects:,}", *(element("b", decimal(value)) for value in overall)]
    )
    small = (
        f"The {_MAX_ROWS} classes with the lowest AP50; {left_out} more are left out."
        if left_out > 0
        else None
    )
    return section(
        "classes",
        "Metrics by class",
        element(
            "div",
            element(
                "div",
                table("Metrics by class", heads, rows, range(1, len(heads)), "figures"),
                note(small),
            ),
            _curve_chart(metrics),
            class_="pair wide-left",
        ),
        lead="Precision is the share of detections that are correct; recall is the share of labelled objects "
        f"that are detected. The table uses the confidence threshold {metrics.confidence:g}. The curve shows all "
        "thresholds: a lower one raises recall and usually lowers precision. AP50 is the area under the curve.",
    )


def _curve_chart(metrics: Metrics) -> Markup:
    chart = Chart("Precision and recall", unit("recall"), unit("precision at IoU 0.5"), 330)
    present = [(label, one) for label, one in enumerate(metrics.classes) if one.objects]
    envelopes = [_envelope(metrics.curves[label]) for label, _ in present]
    few = len(present) <= _MAX_LINES
    for index, ((label, one), envelope) in enumerate(zip(present, envelopes, strict=True)):
        points = list(zip(_RECALLS.tolist(), envelope.tolist(), strict=True))
        key = joined([name(one.name), f" {decimal(one.ap50, 2)}"]) if few else None
        chart.line(
            points,
            class_colour(label) if few else "var(--edge)",
            key,
            index if few else 0,
            1.8 if few else 0.7,
        )
    if not envelopes:
        return chart.figure(
            "No curve: the validation images have no labelled objects.", "No labelled objects."
        )
    mean = np.mean(envelopes, axis=0)
    if len(present) > 1:
        points = list(zip(_RECALLS.tolist(), mean.tolist(), strict=True))
        chart.line(points, "var(--text)", f"all classes {decimal(metrics.ap50, 2)}", 0, 3)
    if not math.isnan(metrics.precision) and not math.isnan(metrics.recall):
        chart.mark(metrics.recall, metrics.precision, f"at confidence {metrics.confidence:g}")
    best = max(present, key=lambda pair: pair[1].ap50)[1]
    worst = min(present, key=lambda pair: pair[1].ap50)[1]
    alt = (
        f"Precision-recall curves of {count(len(present), 'class', 'classes')}. AP50 from "
        f"{decimal(worst.ap50)} ({cut(worst.name)}) to {decimal(best.ap50)} ({cut(best.name)})."
    )
    return chart.figure(alt)


def _envelope(curve: Curve) -> NDArray[np.float64]:
    """Return the highest precision at or above each of 101 recall values."""
    falling = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return np.append(falling, 0.0)[np.searchsorted(curve.recall, _RECALLS)]


def confusion_section(run: RunFacts, metrics: Metrics) -> Markup:
    """Return the confusion matrix, each cell shaded by its share of the row."""
    names = [one.name for one in metrics.classes]
    counts = confusion_matrix(run.ground_truth, run.predictions, len(names), metrics.confidence)
    errors = counts + counts.T
    np.fill_diagonal(errors, 0)
    occurring = np.nonzero((counts + counts.T).sum(axis=0)[:-1])[0]
    most = occurring[np.argsort(-errors.sum(axis=0)[occurring], kind="stable")][:_MAX_CONFUSED]
    shown = [*sorted(most.tolist()), len(names)]
    left_out = len(occurring) - len(most)
    labels = [*(name(names[index]) for index in shown[:-1]), element("i", "background")]
    head = element(
        "tr",
        element("td", "labelled ↓", element("br"), "detected →", class_="corner"),
        *(element("th", element("span", label), scope="col") for label in labels),
    )
    totals = np.maximum(counts.sum(axis=1), 1)
    body = []
    for label, row in zip(labels, shown, strict=True):
        cells = []
        for column in shown:
            number, correct = int(counts[row, column]), row == column
            share = number / totals[row]
            empty = row == column == len(names)
            style = f"--share:{100 * share:.0f}%" if number else None
            cells.append(
                element(
                    "td",
                    "" if empty else f"{number:,}" if number else "·",
                    style=style,
                    class_="right" if correct else "wrong",
                )
            )
        body.append(element("tr", element("th", element("span", label), scope="row"), *cells))
    caption = f"Confusion matrix at confidence {metrics.confidence:g}"
    matrix = element(
        "table",
        element("caption", caption, class_="visually-hidden"),
        element("thead", head),
        element("tbody", *body),
        class_="matrix" + (" many" if len(shown) > 7 else ""),
    )
    small = (
        f"The {_MAX_CONFUSED} classes with the most errors; {left_out} more are left out."
        if left_out
        else None
    )
    return section(
        "confusion",
        "Confusion matrix",
        scrolling(matrix, caption),
        note(small),
        lead="Rows are labelled classes, columns are detected classes, for detections above confidence "
        f"{metrics.confidence:g}. The last column counts missed objects, the last row detections without a "
        "labelled object.",
    )
