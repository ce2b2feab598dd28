"""Which detection found which truth."""

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
    """What is labelled in one image.

    `boxes` (n, 4) xyxy in pixels, `classes` (n,) int, `difficult` (n,) bool, `size` (width, height).
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    size: tuple[int, int]


class Predictions(Protocol):
    """What Detections has, as far as metrics need it: (n, 4) xyxy in pixels, (n,) and (n,)."""

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Corners in pixels."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """Confidence, 0..1."""

    @property
    def classes(self) -> NDArray[np.int64]:
        """Indices of the class names."""


@dataclass(frozen=True)
class Ranked:
    """All detections of one class, best first: `scores` (n,), `hits` (n,) bool; `truths` to be found."""

    scores: NDArray[np.float32]
    hits: NDArray[np.bool_]
    objects: int


def match(
    truth_boxes: NDArray[np.float32],
    difficult: NDArray[np.bool_],
    boxes: NDArray[np.float32],
    iou: float = 0.5,
) -> NDArray[np.int8]:
    """HIT, MISS or IGNORED for each of `boxes` (n, 4), best first, of one class in one image.

    Each goes to the truth (m, 4) that it overlaps most, if by `iou` or more. The first there is a hit, any
    further one a miss; what goes to a `difficult` (m,) truth is not counted (Pascal VOC, and Darknet's
    validate_detector_map, which has no difficult ones).
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
    """Every detection of class `label` in all images, ranked by score, with whether it is right."""
    scores, outcomes, count = [np.empty(0, np.float32)], [np.empty(0, np.int8)], 0
    for truth, found in zip(ground_truth, predictions, strict=True):
        wanted, mine = truth.classes == label, np.nonzero(found.classes == label)[0]
        count += int((wanted & ~truth.difficult).sum())
        mine = mine[np.argsort(-found.scores[mine], kind="stable")]
        scores.append(found.scores[mine])
        outcomes.append(match(truth.boxes[wanted], truth.difficult[wanted], found.boxes[mine], iou))
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
    """(F1 at `confidence`, index) of every image, worst first; of equal ones those with more errors first.

    An image with nothing in it and nothing found has F1 1.
    """
    ranked = []
    for index, (truth, found) in enumerate(zip(ground_truth, predictions, strict=True)):
        hits = misses = 0
        sure = found.scores > confidence
        for label in np.unique(np.concatenate([truth.classes, found.classes[sure]])):
            wanted, mine = truth.classes == label, np.nonzero(sure & (found.classes == label))[0]
            mine = mine[np.argsort(-found.scores[mine], kind="stable")]
            outcome = match(truth.boxes[wanted], truth.difficult[wanted], found.boxes[mine], iou)
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
    """Counts (classes + 1, classes + 1): rows what is labelled, columns what was found; last: nothing.

    Detections above `confidence` and truths pair off one to one at `iou` or more, those of one class
    first, then by overlap. Difficult truths, and what pairs off with them, aren't counted.
    """
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    for truth, found in zip(ground_truth, predictions, strict=True):
        sure = np.nonzero(found.scores > confidence)[0]
        overlaps = iou_matrix(truth.boxes, found.boxes[sure])
        rows, columns = np.nonzero(overlaps >= iou)
        other = truth.classes[rows] != found.classes[sure][columns]
        free_truths, free_found = set(range(len(truth.boxes))), set(range(len(sure)))
        for pair in np.lexsort((-overlaps[rows, columns], other)):
            row, column = int(rows[pair]), int(columns[pair])
            if row in free_truths and column in free_found:
                free_truths.discard(row)
                free_found.discard(column)
                if not truth.difficult[row]:
                    counts[truth.classes[row], found.classes[sure[column]]] += 1
        for row in free_truths:
            if not truth.difficult[row]:
                counts[truth.classes[row], classes] += 1
        for column in free_found:
            counts[classes, found.classes[sure[column]]] += 1
    return counts
