"""How good detections are: COCO's AP, VOC's mAP as Darknet prints it, precision and recall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookonce.evaluation.average_precision import coco_ap, precision_recall, voc_ap
from lookonce.evaluation.matching import GroundTruth, Predictions, Ranked, rank_class


@dataclass(frozen=True)
class Curve:
    """One class's precision (n,) and recall (n,) at IoU 0.5 as the score (n,) that is asked for falls."""

    scores: NDArray[np.float32]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


@dataclass(frozen=True)
class ClassMetrics:
    """One class. AP by COCO (`ap`, `ap50`, `ap75`) and by VOC at IoU 0.5; the rest at Metrics.confidence.

    NaN where there is nothing to divide by: AP and recall without truths, precision without detections.
    """

    name: str
    objects: int
    ap: float
    ap50: float
    ap75: float
    voc_area: float
    voc_11: float
    voc_101: float
    true_positives: int
    false_positives: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Metrics:
    """A detector's figures on a set of images; means go over the classes that occur in it.

    `ap`, `ap50`, `ap75`: COCO. `voc_area`, `voc_11`, `voc_101`: mAP at IoU 0.5 by the area under the curve,
    11 and 101 points (Darknet's `detector map -points 0|11|101`). `precision`, `recall`, `f1`: all classes'
    detections together, above `confidence`; `best_f1` is reached above `best_confidence`.
    """

    images: int
    objects: int
    ap: float
    ap50: float
    ap75: float
    voc_area: float
    voc_11: float
    voc_101: float
    confidence: float
    precision: float
    recall: float
    f1: float
    best_f1: float
    best_confidence: float
    classes: tuple[ClassMetrics, ...]
    curves: tuple[Curve, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything but the curves, ready for json.dumps; what isn't a number is None."""
        values = {name: value for name, value in vars(self).items() if name not in ("classes", "curves")}
        return {
            **_without_nan(values),
            "classes": [_without_nan(asdict(one)) for one in self.classes],
        }


def evaluate(
    ground_truth: Sequence[GroundTruth],
    predictions: Sequence[Predictions],
    class_names: Sequence[str],
    confidence: float = 0.3,
) -> Metrics:
    """Hold detections against truths, image by image in the same order.

    Give detections down to a low score (0.001): AP needs them. `confidence` is where precision, recall and
    F1 are taken. Difficult truths are neither missed nor wrongly found. Empty lists are fine; figures without
    ground are NaN. Raises ValueError when the lists differ in length.
    """
    if len(ground_truth) != len(predictions):
        raise ValueError(f"{len(ground_truth)} images with truths, {len(predictions)} with predictions")
    coco = coco_ap(ground_truth, predictions, len(class_names))
    ranked = [rank_class(ground_truth, predictions, label) for label in range(len(class_names))]
    classes = tuple(
        _one_class(name, one, coco[:, label], confidence)
        for label, (name, one) in enumerate(zip(class_names, ranked, strict=True))
    )
    together = _together(ranked)
    precision, recall, f1 = _at(together, confidence)
    best_f1, best_confidence = _best(together)
    return Metrics(
        images=len(ground_truth),
        objects=together.objects,
        ap=_mean([one.ap for one in classes]),
        ap50=_mean([one.ap50 for one in classes]),
        ap75=_mean([one.ap75 for one in classes]),
        voc_area=_mean([one.voc_area for one in classes]),
        voc_11=_mean([one.voc_11 for one in classes]),
        voc_101=_mean([one.voc_101 for one in classes]),
        confidence=confidence,
        precision=precision,
        recall=recall,
        f1=f1,
        best_f1=best_f1,
        best_confidence=best_confidence,
        classes=classes,
        curves=tuple(_curve(one) for one in ranked),
    )


def _one_class(name: str, ranked: Ranked, coco: NDArray[np.float64], confidence: float) -> ClassMetrics:
    sure = ranked.hits[ranked.scores > confidence]
    precision, recall, f1 = _at(ranked, confidence)
    return ClassMetrics(
        name=name,
        objects=ranked.objects,
        ap=float(coco.mean()),
        ap50=float(coco[0]),
        ap75=float(coco[5]),
        voc_area=voc_ap(ranked.hits, ranked.objects),
        voc_11=voc_ap(ranked.hits, ranked.objects, 11),
        voc_101=voc_ap(ranked.hits, ranked.objects, 101),
        true_positives=int(sure.sum()),
        false_positives=int((~sure).sum()),
        precision=precision,
        recall=recall,
        f1=f1,
    )


def _together(ranked: Sequence[Ranked]) -> Ranked:
    scores = np.concatenate([np.empty(0, np.float32), *(one.scores for one in ranked)])
    hits = np.concatenate([np.empty(0, bool), *(one.hits for one in ranked)])
    order = np.argsort(-scores, kind="stable")
    return Ranked(scores[order], hits[order], sum(one.objects for one in ranked))


def _at(ranked: Ranked, confidence: float) -> tuple[float, float, float]:
    hits = ranked.hits[ranked.scores > confidence]
    right = int(hits.sum())
    return (
        _ratio(right, len(hits)),
        _ratio(right, ranked.objects),
        _ratio(2 * right, len(hits) + ranked.objects),
    )


def _best(ranked: Ranked) -> tuple[float, float]:
    """The highest F1, and a confidence that gives it: half way down to the next score."""
    if len(ranked.hits) == 0 or ranked.objects == 0:
        return math.nan, math.nan
    f1 = 2 * np.cumsum(ranked.hits) / (np.arange(1, len(ranked.hits) + 1) + ranked.objects)
    # Equal scores can't be parted by a confidence: only the last of them is a place to cut.
    following = np.append(ranked.scores[1:], np.float32(0))
    f1 = np.where(following < ranked.scores, f1, -1)
    best = int(f1.argmax())
    return float(f1[best]), float((float(ranked.scores[best]) + float(following[best])) / 2)


def _curve(ranked: Ranked) -> Curve:
    if ranked.objects == 0:
        nothing = np.empty(0, np.float64)
        return Curve(np.empty(0, np.float32), nothing, nothing)
    precision, recall = precision_recall(ranked.hits, ranked.objects)
    return Curve(ranked.scores, precision, recall)


def _mean(values: Sequence[float]) -> float:
    present = [value for value in values if not math.isnan(value)]
    return sum(present) / len(present) if present else math.nan


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
    }
