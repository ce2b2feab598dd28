"""Whether scores can be read as chances."""

from __future__ import annotations

import math

from lookonce.evaluation import Metrics
from lookonce.evaluation.score_calibration import LOWEST, Calibration, calibrate
from lookonce.report.chart import Chart, series_colour, unit
from lookonce.report.facts import RunFacts
from lookonce.report.markup import Markup, element, section, table
from lookonce.report.words import count, figure, percent


def calibration_section(run: RunFacts, metrics: Metrics) -> Markup:
    """A chart of precision by score, and the numbers behind it."""
    found = calibrate(run.truths, run.predictions, len(metrics.classes))
    lead = (
        "Of the detections with score 0.7, seven in ten should be right. Bars on the dashed line keep that "
        "promise; lower ones promise too much, higher ones too little. Scores below "
        f"{LOWEST:g} are left out: they are many, and nearly all of them wrong, as they say."
    )
    if math.isnan(found.error):
        said = element(
            "p", f"No detection scores above {LOWEST:g}: there is nothing to compare.", class_="says"
        )
        return section("calibration", "What a score is worth", said, lead=lead)
    promise = "too much" if found.bias > 0 else "too little"
    error = (
        f"Expected calibration error {figure(found.error)}: so far a score lies from the truth in the mean. "
        f"All in all they promise {promise}, by {percent(abs(found.bias))}."
    )
    return section(
        "calibration",
        "What a score is worth",
        element(
            "div",
            _chart(found),
            element("div", element("p", error, class_="says"), _table(found)),
            class_="pair",
        ),
        lead=lead,
    )


def _chart(found: Calibration) -> Markup:
    chart = Chart("Precision by score", unit("score"), unit("share that is right"), 330)
    bars, hints = [], []
    for low, high, times, score, right in _bins(found):
        if times:
            # A hair's breadth between bars.
            bars.append((low + 0.006, high - 0.006, 0.0, right))
            said = f"{count(times, 'detection')}, mean score {score:.2f}, {percent(right)} right"
            hints.append(((low + high) / 2, right, said))
    chart.bars(bars, series_colour(1))
    chart.key("detections that are right", series_colour(1), area=True)
    chart.rule((0, 0), (1, 1), "scores that can be taken at their word")
    chart.hints(hints)
    return chart.figure(
        f"Share of right detections by score; expected calibration error {figure(found.error)}."
    )


def _table(found: Calibration) -> Markup:
    rows = [
        [f"{low:.1f} to {high:.1f}", f"{times:,}", figure(score, 2), figure(right, 2)]
        for low, high, times, score, right in _bins(found)
    ]
    heads = ("score", "detections", "mean score", "share right")
    return table("Detections by score", heads, rows, (1, 2, 3), "close")


def _bins(found: Calibration) -> list[tuple[float, float, int, float, float]]:
    """Edges, detections, their mean score and precision."""
    columns = (found.edges[:-1], found.edges[1:], found.counts, found.scores, found.precision)
    return list(zip(*(column.tolist() for column in columns), strict=True))
