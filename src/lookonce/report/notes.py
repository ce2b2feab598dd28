"""Rules that point out problems and next steps in a training run."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from lookonce.evaluation import confusion_matrix
from lookonce.evaluation.score_calibration import calibrate
from lookonce.report.facts import RunFacts
from lookonce.report.markup import Markup, joined, name
from lookonce.report.words import count, decimal, percent

_FEW_OBJECTS = 10
_FEW_IMAGES = 20
_FAR_BELOW = 0.15
_OFTEN_CONFUSED = 0.1
_ILL_CALIBRATED = 0.1
_NAMED = 4

Note = Markup | str


def notes(run: RunFacts) -> list[Note]:
    """Return notes of one or two sentences each, the most important first."""
    return [*_training(run), *_classes(run), *_scores(run), *_data(run)]


def _training(run: RunFacts) -> Iterator[Note]:
    losses = [row["loss"] for row in run.rows if math.isfinite(row.get("loss", math.nan))]
    if len(losses) > 1 and losses[-1] >= losses[0]:
        yield "The loss did not decrease. Try a smaller learning rate or train for more epochs."
    planned = run.record.settings.get("epochs")
    if run.best_epoch is not None and run.best_epoch == len(run.rows) == planned and len(run.rows) > 1:
        yield "The best epoch is the last one. Training longer may improve the model."
    if run.best_epoch is not None and planned and len(run.rows) < int(planned):
        done = f"{len(run.rows)} of {planned} epochs"
        yield f"Training stopped after {done}: no improvement after epoch {run.best_epoch}."


def _classes(run: RunFacts) -> Iterator[Note]:
    metrics = run.metrics
    if metrics is None:
        return
    present = [one for one in metrics.classes if one.objects]
    if absent := [one.name for one in metrics.classes if not one.objects]:
        yield joined(
            ["No validation image contains ", _names(absent), ", so average precision there is unknown."]
        )
    if few := [one.name for one in present if one.objects < _FEW_OBJECTS]:
        yield joined(
            [
                "Fewer than ",
                f"{_FEW_OBJECTS} validation objects each: ",
                _names(few),
                ". Their metrics are unreliable.",
            ]
        )
    weak = [one for one in present if one.ap50 < metrics.ap50 - _FAR_BELOW and one.objects >= _FEW_OBJECTS]
    for one in sorted(weak, key=lambda one: one.ap50)[:2]:
        yield joined(
            [
                name(one.name),
                f" is well below average: AP50 {decimal(one.ap50)}, the mean is {decimal(metrics.ap50)}.",
            ]
        )
    yield from _confused(run)


def _confused(run: RunFacts) -> Iterator[Note]:
    assert run.metrics is not None
    names = [one.name for one in run.metrics.classes]
    counts = confusion_matrix(run.ground_truth, run.predictions, len(names), run.metrics.confidence)
    labelled = counts[:-1].sum(axis=1)
    between = counts[:-1, :-1] * (1 - np.eye(len(names), dtype=np.int64))
    for place in np.argsort(-between, axis=None, kind="stable")[:2]:
        row, column = divmod(int(place), len(names))
        times = int(between[row, column])
        if times >= 3 and times >= _OFTEN_CONFUSED * labelled[row]:
            yield joined(
                [
                    f"{times} of {count(int(labelled[row]), 'object')} labelled ",
                    name(names[row]),
                    " are detected as ",
                    name(names[column]),
                    ".",
                ]
            )


def _scores(run: RunFacts) -> Iterator[Note]:
    metrics = run.metrics
    if metrics is None:
        return
    if metrics.images < _FEW_IMAGES:
        few = count(metrics.images, "validation image")
        yield f"Only {few}: metrics may differ by several points on other images."
    scores = calibrate(run.ground_truth, run.predictions, len(metrics.classes))
    if not math.isnan(scores.error) and scores.error > _ILL_CALIBRATED:
        if abs(scores.bias) > scores.error / 2:
            direction = "overconfident" if scores.bias > 0 else "underconfident"
            yield f"Scores are {direction} by {percent(abs(scores.bias))} on average."
        else:
            yield f"Scores differ from precision by {percent(scores.error)} on average, in both directions."


def _data(run: RunFacts) -> Iterator[Note]:
    fixed = sum(one.outcome in ("repaired", "dropped") for one in run.checked.findings)
    if fixed:
        yield f"The label check repaired or ignored {count(fixed, 'item')}: see Label check below."


def _names(names: list[str]) -> Markup:
    shown: list[Note] = []
    for index, one in enumerate(names[:_NAMED]):
        shown += [", " if index else "", name(one)]
    more = len(names) - _NAMED
    return joined([*shown, f" and {more} more" if more > 0 else ""])
