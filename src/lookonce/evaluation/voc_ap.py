"""Average precision of one class from its ranked hits: Pascal VOC's two ways and COCO's points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def precision_recall(hits: NDArray[np.bool_], truths: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall (n,) after each of `hits` (n,), best score first; `truths` > 0 in all."""
    right = np.cumsum(hits, dtype=np.float64)
    return right / np.arange(1, len(hits) + 1), right / truths


def average_precision(hits: NDArray[np.bool_], truths: int, points: int = 0) -> float:
    """AP of one class, as Darknet's `detector map` computes it.

    `hits` (n,): whether each detection is right, best score first; `truths`: how many there are to find.
    `points` 0 is the area under the falling envelope (VOC 2010), 11 VOC 2007's mean, 101 COCO's. NaN
    without truths: a class that doesn't occur has no AP, and counts in no mean.
    """
    if truths == 0:
        return float("nan")
    if len(hits) == 0:
        return 0.0
    precision, recall = precision_recall(hits, truths)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if points == 0:
        return float(np.sum(np.diff(recall, prepend=0.0) * envelope))
    places = np.searchsorted(recall, np.linspace(0, 1, points), side="left")
    return float(np.append(envelope, 0.0)[places].mean())
