"""Measure a model on a labelled dataset."""

from __future__ import annotations

from pathlib import Path

from lookonce.evaluation import Metrics
from lookonce.evaluation.validation import AP_CONFIDENCE, NMS_IOU, Validation
from lookonce.inference.detector import Detector
from lookonce.labels import Dataset


def evaluate(
    model: str | Path | Detector,
    data: str | Path | Dataset,
    *,
    split: str | None = "test",
    weights: str | Path | None = None,
    classes: str | Path | None = None,
    resize: str | None = None,
    conf: float = 0.3,
    iou: float = NMS_IOU,
    seed: int = 0,
) -> Metrics:
    """Measure a model on one split of a labelled dataset.

    Args:
        model: a model file, a Darknet .cfg with its `weights`, or a Detector, whose own thresholds then hold: give it
            a `conf` near 0, for average precision counts what it is shown.
        data: the dataset or its folder.
        split: name of the split; None takes every image.
        weights: Darknet weights of a .cfg.
        classes: file with the class names of a .cfg.
        resize: "letterbox" or "stretch" instead of the model's own.
        conf: the confidence at which precision and recall are given. AP counts every detection above 0.001.
        iou: largest overlap of two detections of a class.
        seed: of the random split, where the dataset has no lists.

    Raises:
        LookonceError: for a model or dataset that cannot be used.
    """
    if not isinstance(model, Detector):
        model = Detector(model, weights=weights, classes=classes, resize=resize, conf=AP_CONFIDENCE, iou=iou)
    return Validation.of_split(data, model.names, split, seed).measure(model, conf).metrics
