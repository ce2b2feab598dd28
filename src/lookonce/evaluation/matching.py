"""Matching of detections with ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import iou_matrix

MISS, HIT, IGNORED = 0, 1, -1


@dataclass(frozen=True)
class GroundTruth:
    """Labelled objects of one image.

    Args:
        boxes: float32 (n, 4), xyxy in pixels.
        classes: int64 (n,).
        difficult: bool (n,).
        size: (width, height) in pixels.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    size: tuple[int, int]


class Predictions(Protocol):
    """The part of Detections that metrics need: boxes (n, 4), scores (n,) and classes (n,)."""

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Corners xyxy in pixels."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """Confidence, 0..1."""

    @property
    def classes(self) -> NDArray[np.int64]:
        """Indices of the class names."""


@dataclass(frozen=True)
class Ranked:
    """All detections of one class, best first: `scores` (n,), `hits` (n,) bool; `objects` labelled."""

    scores: NDArray[np.float32]
    hits: NDArray[np.bool_]
    objects: int


def match(
    truth_boxes: NDArray[np.float32],
    difficult: NDArray[np.bool_],
    boxes: NDArray[np.float32],
    iou: float = 0.5,
) -> NDArray[np.int8]:
    """Classify detections of one class in one image as HIT, MISS or IGNORED.

    Each is assigned to the object with the highest IoU, if that is `iou` or more. The first on an object is a
    hit, any further one a miss; those on difficult objects are ignored (Pascal VOC, and Darknet's
    validate_detector_map, which has no difficult objects).

    Args:
        truth_boxes: float32 (m, 4), xyxy of the labelled objects.
        difficult: bool (m,).
        boxes: float32 (n, 4), xyxy of the detections, best first.
        iou: lowest IoU of a hit.

    Returns:
        int8 (n,).
    """
    outcome = np.full(len(boxes), MISS, np.int8)
    if len(truth_boxes) == 0 or len(boxes) == 0:
        return outcome
    overlaps = iou_matrix(boxes, truth_boxes)
    nearest = overlaps.argmax(axis=1)
    taken = np.zeros(len(truth_boxes), bool)
    for index in np.nonzero(overlaps.max(axis=1) >= iou)[0]:
        truth = nearest[index]
        if difficult[truth]:
            outcome[index] = IGNORED
        elif not taken[truth]:
            outcome[index], taken[truth] = HIT, True
    return outcome


def rank_class(
    ground_truth: Sequence[GroundTruth], predictions: Sequence[Predictions], label: int, iou: float = 0.5
) -> Ranked:
    """Rank the detections of class `label` in all images by score, each with whether it is a hit."""
    scores, outcomes, count = [np.empty(0, np.float32)], [np.empty(0, np.int8)], 0
    for truth, found in zip(ground_truth, predictions, strict=True):
        labelled, detected = truth.classes == label, np.nonzero(found.classes == label)[0]
        count += int((labelled & ~truth.difficult).sum())
        detected = detected[np.argsort(-found.scores[detected], kind="stable")]
        scores.append(found.scores[detected])
        outcomes.append(match(truth.boxes[labelled], truth.difficult[labelled], found.boxes[detected], iou))
    all_scores, all_outcomes = np.concatenate(scores), np.concatenate(outcomes)
    counted = all_outcomes != IGNORED
    all_scores, all_outcomes = all_scores[counted], all_outcomes[counted]
    order = np.argsort(-all_scores, kind="stable")
    return Ranked(all_scores[order], all_outcomes[order] == HIT, count)


def rank_images(
    ground_truth: Sequence[GroundTruth],
    predictions: Sequence[Predictions],
    confidence: float = 0.3,
    iou: float = 0.5,
) -> list[tuple[float, int]]:
    """Return (F1 at `confidence`, index) of every image, worst first, ties by number of errors.

    An image without objects and detections has F1 1.
    """
    ranked = []
    for index, (truth, found) in enumerate(zip(ground_truth, predictions, strict=True)):
        hits = misses = 0
        sure = found.scores > confidence
        for label in np.unique(np.concatenate([truth.classes, found.classes[sure]])):
            labelled, detected = truth.classes == label, np.nonzero(sure & (found.classes == label))[0]
            detected = detected[np.argsort(-found.scores[detected], kind="stable")]
            outcome = match(truth.boxes[labelled], truth.difficult[labelled], found.boxes[detected], iou)
            hits += int((outcome == HIT).sum())
            misses += int((outcome == MISS).sum())
        errors = misses + int((~truth.difficult).sum()) - hits
        ranked.append((2 * hits / (2 * hits + errors) if hits + errors else 1.0, -errors, index))
    return [(score, index) for score, _, index in sorted(ranked)]


def confusion_matrix(
    ground_truth: Sequence[GroundTruth],
    predictions: Sequence[Predictions],
    classes: int,
    confidence: float = 0.3,
    iou: float = 0.5,
) -> NDArray[np.int64]:
    """Count labelled classes (rows) against detected classes (columns); the last of each is "nothing".

    Detections above `confidence` are paired one to one with objects at `iou` or more, pairs of equal class
    first, then by overlap. Difficult objects and their pairs are not counted.

    Returns:
        int64 (classes + 1, classes + 1).
    """
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    for truth, found in zip(ground_truth, predictions, strict=True):
        sure = np.nonzero(found.scores > confidence)[0]
        overlaps = iou_matrix(truth.boxes, found.boxes[sure])
        rows, columns = np.nonzero(overlaps >= iou)
        other = truth.classes[rows] != found.classes[sure][columns]
        free_objects, free_detections = set(range(len(truth.boxes))), set(range(len(sure)))
        for pair in np.lexsort((-overlaps[rows, columns], other)):
            row, column = int(rows[pair]), int(columns[pair])
            if row in free_objects and column in free_detections:
                free_objects.discard(row)
                free_detections.discard(column)
                if not truth.difficult[row]:
                    counts[truth.classes[row], found.classes[sure[column]]] += 1
        for row in free_objects:
            if not truth.difficult[row]:
                counts[truth.classes[row], classes] += 1
        for column in free_detections:
            counts[classes, found.classes[sure[column]]] += 1
    return counts
