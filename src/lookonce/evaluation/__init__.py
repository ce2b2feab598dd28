"""Metrics and plots of detections against truths, independent of how the detections were made."""

from lookonce.evaluation.matching import GroundTruth, Predictions, confusion_matrix, rank_images
from lookonce.evaluation.metrics import ClassMetrics, Curve, Metrics, evaluate
from lookonce.evaluation.voc_ap import average_precision

__all__ = [
    "ClassMetrics",
    "Curve",
    "GroundTruth",
    "Metrics",
    "Predictions",
    "average_precision",
    "confusion_matrix",
    "evaluate",
    "rank_images",
]
