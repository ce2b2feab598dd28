"""Average precision: COCO's by pycocotools, Pascal VOC's from one class's ranked hits."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lookonce.evaluation.matching import GroundTruth, Predictions

# Rows of coco_ap's result: IoU 0.50, 0.55, ... 0.95.
IOUS = np.linspace(0.5, 0.95, 10)


def coco_ap(
    ground_truth: Sequence[GroundTruth], predictions: Sequence[Predictions], classes: int
) -> NDArray[np.float64]:
    """Compute COCO's AP with pycocotools: 101 points, at most 100 detections per class and image.

    Difficult objects are ignored: neither missed nor false positives, however often detected. Overlap
    with them is plain IoU, unlike COCO's crowds.

    Args:
        ground_truth: one entry per image.
        predictions: one entry per image, in the same order.
        classes: number of classes.

    Returns:
        AP (10, classes) at each IoU of `IOUS`; NaN for a class without objects.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        images = [
            {"id": index, "width": truth.size[0], "height": truth.size[1]}
            for index, truth in enumerate(ground_truth, 1)
        ]
        labelled = _index(
            images,
            classes,
            [
                _annotation(image, box, label, iscrowd=int(difficult))
                for image, truth in enumerate(ground_truth, 1)
                for box, label, difficult in zip(truth.boxes, truth.classes, truth.difficult, strict=True)
            ],
        )
        found = _index(
            images,
            classes,
            [
                _annotation(image, box, label, iscrowd=0, score=float(score))
                for image, prediction in enumerate(predictions, 1)
                for box, label, score in zip(
                    prediction.boxes, prediction.classes, prediction.scores, strict=True
                )
            ],
        )
        scorer = _DifficultEval(labelled, found, "bbox")
        scorer.params.areaRng, scorer.params.areaRngLbl = [[0, 1e10]], ["all"]
        scorer.params.maxDets = [100]
        scorer.params.iouThrs = IOUS
        scorer.evaluate()
        scorer.accumulate()
    precision = scorer.eval["precision"][:, :, :, 0, 0]
    # pycocotools returns -1 for a class without objects.
    return np.where((precision < 0).any(axis=1), np.nan, precision.mean(axis=1))


def precision_recall(
    hits: NDArray[np.bool_], objects: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision and recall (n,) after each of `hits` (n,), best score first; `objects` is above 0."""
    right = np.cumsum(hits, dtype=np.float64)
    return right / np.arange(1, len(hits) + 1), right / objects


def voc_ap(hits: NDArray[np.bool_], objects: int, points: int = 0) -> float:
    """Compute the AP of one class as Darknet's `detector map` does.

    Args:
        hits: bool (n,), whether each detection is correct, best score first.
        objects: number of objects in the ground truth.
        points: 0 for the area under the envelope (VOC 2010), 11 for VOC 2007's mean, 101 for COCO's.

    Returns:
        AP in 0..1; NaN without objects, so that the class counts in no mean.

    >>> voc_ap(np.asarray([True, False, True]), objects=2)
    0.8333333333333333
    """
    if objects == 0:
        return float("nan")
    if len(hits) == 0:
        return 0.0
    precision, recall = precision_recall(hits, objects)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if points == 0:
        return float(np.sum(np.diff(recall, prepend=0.0) * envelope))
    places = np.searchsorted(recall, np.linspace(0, 1, points), side="left")
    return float(np.append(envelope, 0.0)[places].mean())


class _DifficultEval(COCOeval):  # type: ignore[misc, unused-ignore]
    """COCOeval in which ignored objects overlap by plain IoU, not by the detection's share as crowds do."""

    def computeIoU(self, image: int, category: int) -> Any:  # noqa: N802 (pycocotools' name)
        labelled = self._gts[image, category]
        for one in labelled:
            one["iscrowd"] = 0
        overlaps = super().computeIoU(image, category)
        for one in labelled:
            one["iscrowd"] = one["ignore"]
        return overlaps


def _index(images: list[dict[str, Any]], classes: int, annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": images,
        "categories": [{"id": label, "name": str(label)} for label in range(1, classes + 1)],
        # From 1: pycocotools takes 0 for "not matched".
        "annotations": [{"id": number, **row} for number, row in enumerate(annotations, 1)],
    }
    coco.createIndex()
    return coco


def _annotation(image: int, box: NDArray[np.float32], label: int, **more: float) -> dict[str, Any]:
    left, top, right, bottom = (float(value) for value in box)
    width, height = right - left, bottom - top
    return {
        "image_id": image,
        "category_id": int(label) + 1,
        "bbox": [left, top, width, height],
        "area": width * height,
        **more,
    }
