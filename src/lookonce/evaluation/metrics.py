"""Detection metrics: COCO's AP, VOC's mAP as Darknet computes it, precision, recall and F1."""

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
    """Precision (n,) and recall (n,) of one class at IoU 0.5, by falling score threshold (n,)."""

    scores: NDArray[np.float32]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one class: AP by COCO (`ap`, `ap50`, `ap75`) and VOC at IoU 0.5, others at a confidence.

    NaN where undefined: AP and recall without objects, precision without detections.
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
    """Metrics of a detector on a set of images; means are over the classes with objects.

    `ap`, `ap50`, `ap75`: COCO. `voc_area`, `voc_11`, `voc_101`: mAP at IoU 0.5 by the area under the curve,
    11 and 101 points (Darknet's `detector map -points 0|11|101`). `precision`, `recall`, `f1`: over the
    detections of all classes above `confidence`; `best_f1` is the F1 above `best_confidence`.
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
        """Return all but the curves as a dict for json.dumps, with None for NaN."""
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
    """Compare detections with ground truth.

    Args:
        ground_truth: labelled objects, one entry per image. Difficult ones are neither missed nor false.
        predictions: detections in the same order, down to a low score (0.001), as AP needs them.
        class_names: names in the order of the class numbers.
        confidence: score above which precision, recall and F1 are computed.

    Returns:
        The metrics; undefined ones are NaN.

    Raises:
        ValueError: the lists differ in length.

    Example:
        >>> import numpy as np
        >>> from lookonce.core.detections import Detections
        >>> box = np.asarray([[0, 0, 10, 10]], np.float32)
        >>> cars = np.zeros(1, np.int64)
        >>> labels = [GroundTruth(box, cars, np.zeros(1, bool), (64, 48))]
        >>> found = [Detections(box, np.asarray([0.9], np.float32), cars, ("car",), (64, 48))]
        >>> round(evaluate(labels, found, ["car"]).ap50, 3)
        1.0
    """
    if len(ground_truth) != len(predictions):
        raise ValueError(f"{len(ground_truth)} images with ground truth, {len(predictions)} with predictions")
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
    """Return the highest F1 and its confidence, halfway to the next lower score."""
    if len(ranked.hits) == 0 or ranked.objects == 0:
        return math.nan, math.nan
    f1 = 2 * np.cumsum(ranked.hits) / (np.arange(1, len(ranked.hits) + 1) + ranked.objects)
    # No threshold separates equal scores: only the last of them is a candidate.
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
