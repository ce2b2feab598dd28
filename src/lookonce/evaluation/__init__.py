"""Metrics and plots of detections against ground truth, from any detector."""

from lookonce.evaluation.average_precision import coco_ap, voc_ap
from lookonce.evaluation.matching import GroundTruth, Predictions, confusion_matrix, rank_images
from lookonce.evaluation.metrics import ClassMetrics, Curve, Metrics, evaluate

__all__ = [
    "ClassMetrics",
    "Curve",
    "GroundTruth",
    "Metrics",
    "Predictions",
    "coco_ap",
    "confusion_matrix",
    "evaluate",
    "rank_images",
    "voc_ap",
]
