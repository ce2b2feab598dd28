"""Overlap of boxes as tensors: IoU of all pairs, and IoU, GIoU, DIoU and CIoU of paired boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops


def iou(predicted: Any, boxes: Any) -> Any:
    """Return the IoU (b, n, t) of boxes (b, n, 4) with boxes (b, t, 4), both cx, cy, w, h."""
    first, second = predicted[:, :, None, :], boxes[:, None, :, :]
    gaps = ops.abs(first[..., :2] - second[..., :2])
    sides = ops.minimum(
        (first[..., 2:] + second[..., 2:]) / 2 - gaps, ops.minimum(first[..., 2:], second[..., 2:])
    )
    sides = ops.maximum(sides, 0.0)
    overlap = sides[..., 0] * sides[..., 1]
    areas = first[..., 2] * first[..., 3] + second[..., 2] * second[..., 3]
    return overlap / (areas - overlap + 1e-9)


def paired_overlap(predicted: Any, boxes: Any, kind: str) -> Any:
    """Return the overlap (b, t) of paired boxes (b, t, 4), each cx, cy, w, h.

    `kind` is "iou", "giou" (Rezatofighi et al. 2019), "diou" or "ciou" (Zheng et al. 2020,
    equations 7 and 9 to 12): the IoU, less a term for the hull's empty part, the distance, or
    distance and aspect.
    """
    low = ops.minimum(predicted[..., :2] - predicted[..., 2:] / 2, boxes[..., :2] - boxes[..., 2:] / 2)
    high = ops.maximum(predicted[..., :2] + predicted[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2)
    # Along each axis the overlap is the sum of both sides less the hull's.
    overlap = ops.prod(ops.maximum(predicted[..., 2:] + boxes[..., 2:] - (high - low), 0.0), axis=-1)
    union = ops.prod(predicted[..., 2:], axis=-1) + ops.prod(boxes[..., 2:], axis=-1) - overlap
    plain = overlap / (union + 1e-9)
    if kind == "iou":
        return plain
    if kind == "giou":
        hull = ops.prod(high - low, axis=-1)
        return plain - (hull - union) / (hull + 1e-9)
    distance = ops.sum(ops.square(predicted[..., :2] - boxes[..., :2]), axis=-1)
    diagonal = ops.sum(ops.square(high - low), axis=-1)
    near = plain - distance / (diagonal + 1e-9)
    if kind == "diou":
        return near
    angle = ops.arctan2(boxes[..., 2], boxes[..., 3]) - ops.arctan2(predicted[..., 2], predicted[..., 3])
    aspect = (4 / np.pi**2) * ops.square(angle)
    alpha = ops.stop_gradient(aspect / (1 - plain + aspect + 1e-9))
    return near - alpha * aspect
