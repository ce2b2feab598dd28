"""Calibration of scores: of detections with score 0.7, seven in ten should be correct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookonce.evaluation.matching import GroundTruth, Predictions, rank_class

# Thousands of detections are below, nearly all correctly rated as wrong: they would hide the others.
LOWEST = 0.1
BINS = 9


@dataclass(frozen=True)
class Calibration:
    """Detections scoring above LOWEST in BINS equal bins between `edges` (BINS + 1,).

    `counts` (BINS,) detections, `scores` their mean score, `precision` the share of correct ones; NaN in an
    empty bin. `error` is the expected calibration error (Guo et al. 2017): the mean distance between
    score and precision, weighted by counts; NaN without detections. `bias` is the same with sign: above 0
    the scores are too high.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    error: float
    bias: float


def calibrate(
    ground_truth: Sequence[GroundTruth], predictions: Sequence[Predictions], classes: int, iou: float = 0.5
) -> Calibration:
    """Compare scores with precision over all classes; a detection is correct if it is a hit at `iou`."""
    ranked = [rank_class(ground_truth, predictions, label, iou) for label in range(classes)]
    scores = np.concatenate([np.empty(0), *(one.scores for one in ranked)]).astype(np.float64)
    hits = np.concatenate([np.empty(0, bool), *(one.hits for one in ranked)]).astype(np.float64)
    hits, scores = hits[scores > LOWEST], scores[scores > LOWEST]
    edges = np.linspace(LOWEST, 1, BINS + 1)
    place = np.clip(np.searchsorted(edges, scores, side="left") - 1, 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        mean_scores = np.bincount(place, scores, BINS) / counts
        precision = np.bincount(place, hits, BINS) / counts
    filled = counts > 0
    gaps, weights = (mean_scores - precision)[filled], counts[filled] / max(1, len(scores))
    some = bool(filled.any())
    return Calibration(
        edges,
        counts,
        mean_scores,
        precision,
        error=float(np.sum(np.abs(gaps) * weights)) if some else float("nan"),
        bias=float(np.sum(gaps * weights)) if some else float("nan"),
    )
