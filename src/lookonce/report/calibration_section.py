"""The report's section on score calibration: how well scores match precision."""

from __future__ import annotations

import math

from lookonce.evaluation import Metrics
from lookonce.evaluation.score_calibration import LOWEST, Calibration, calibrate
from lookonce.report.chart import Chart, series_colour, unit
from lookonce.report.facts import RunFacts
from lookonce.report.markup import Markup, element, section, table
from lookonce.report.words import count, decimal, percent


def calibration_section(run: RunFacts, metrics: Metrics) -> Markup:
    """Return a chart and a table of precision by score."""
    calibration = calibrate(run.ground_truth, run.predictions, len(metrics.classes))
    lead = (
        "If scores are well calibrated, 70 % of the detections with score 0.7 are correct. Bars below the dashed "
        "line mean overconfident scores, bars above it underconfident ones. Detections with a score below "
        f"{LOWEST:g} are excluded."
    )
    if math.isnan(calibration.error):
        empty = element(
            "p",
            f"No detection scores above {LOWEST:g}, so calibration cannot be measured.",
            class_="statement",
        )
        return section("calibration", "Score calibration", empty, lead=lead)
    direction = "overconfident" if calibration.bias > 0 else "underconfident"
    error = (
        f"Expected calibration error {decimal(calibration.error)}: the average gap between score and precision. "
        f"Overall, scores are {direction} by {percent(abs(calibration.bias))}."
    )
    return section(
        "calibration",
        "Score calibration",
        element(
            "div",
            _chart(calibration),
            element("div", element("p", error, class_="statement"), _table(calibration)),
            class_="pair",
        ),
        lead=lead,
    )


def _chart(calibration: Calibration) -> Markup:
    chart = Chart("Precision by score", unit("score"), unit("precision"), 330)
    bars, hints = [], []
    for low, high, number, score, precision in _bins(calibration):
        if number:
            # Leave a narrow gap between bars.
            bars.append((low + 0.006, high - 0.006, 0.0, precision))
            text = f"{count(number, 'detection')}, mean score {score:.2f}, {percent(precision)} correct"
            hints.append(((low + high) / 2, precision, text))
    chart.bars(bars, series_colour(1))
    chart.key("correct detections", series_colour(1), area=True)
    chart.rule((0, 0), (1, 1), "perfect calibration")
    chart.hints(hints)
    return chart.figure(f"Precision by score; expected calibration error {decimal(calibration.error)}.")


def _table(calibration: Calibration) -> Markup:
    rows = [
        [f"{low:.1f} to {high:.1f}", f"{number:,}", decimal(score, 2), decimal(precision, 2)]
        for low, high, number, score, precision in _bins(calibration)
    ]
    heads = ("score", "detections", "mean score", "precision")
    return table("Detections by score", heads, rows, (1, 2, 3), "close")


def _bins(calibration: Calibration) -> list[tuple[float, float, int, float, float]]:
    """Return (low, high, detections, mean score, precision) of each score bin."""
    columns = (
        calibration.edges[:-1],
        calibration.edges[1:],
        calibration.counts,
        calibration.scores,
        calibration.precision,
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))
