"""Overlap of boxes as tensors: IoU of all pairs, and the complete IoU of paired ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops


def iou(predicted: Any, boxes: Any) -> Any:
    """IoU of (b, n, 4) with (b, t, 4), both cx, cy, w, h -> (b, n, t)."""
    first, second = predicted[:, :, None, :], boxes[:, None, :, :]
    gaps = ops.abs(first[..., :2] - second[..., :2])
    sides = ops.minimum(
        (first[..., 2:] + second[..., 2:]) / 2 - gaps, ops.minimum(first[..., 2:], second[..., 2:])
    )
    sides = ops.maximum(sides, 0.0)
    overlap = sides[..., 0] * sides[..., 1]
    areas = first[..., 2] * first[..., 3] + second[..., 2] * second[..., 3]
    return overlap / (areas - overlap + 1e-9)


def ciou(predicted: Any, boxes: Any) -> Any:
    """Complete IoU of paired cx, cy, w, h boxes (Zheng et al. 2020, equations 9 to 12), shape (b, t)."""
    low = ops.minimum(predicted[..., :2] - predicted[..., 2:] / 2, boxes[..., :2] - boxes[..., 2:] / 2)
    high = ops.maximum(predicted[..., :2] + predicted[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2)
    # Along each axis the overlap is the sum of both sides less the hull's.
    overlap = ops.prod(ops.maximum(predicted[..., 2:] + boxes[..., 2:] - (high - low), 0.0), axis=-1)
    union = ops.prod(predicted[..., 2:], axis=-1) + ops.prod(boxes[..., 2:], axis=-1) - overlap
    plain = overlap / (union + 1e-9)
    distance = ops.sum(ops.square(predicted[..., :2] - boxes[..., :2]), axis=-1)
    diagonal = ops.sum(ops.square(high - low), axis=-1)
    angle = ops.arctan2(boxes[..., 2], boxes[..., 3]) - ops.arctan2(predicted[..., 2], predicted[..., 3])
    aspect = (4 / np.pi**2) * ops.square(angle)
    alpha = ops.stop_gradient(aspect / (1 - plain + aspect + 1e-9))
    return plain - distance / (diagonal + 1e-9) - alpha * aspect
