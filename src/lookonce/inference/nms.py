"""Greedy non-maximum suppression, class by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lookonce.boxes import iou_matrix

DEFAULT = "default"
GREEDYNMS = "greedynms"
DIOUNMS = "diounms"
KINDS = (DEFAULT, GREEDYNMS, DIOUNMS)

# Boxes compared at once: bounds memory, and keeps the loop over single boxes inside small matrices.
_BLOCK = 256


def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.int64],
    iou: float,
    kind: str = DEFAULT,
    beta: float = 0.6,
) -> NDArray[np.intp]:
    """Indices of the boxes that stay, best score first.

    `boxes` (n, 4) xyxy in any unit, `scores` (n,), `classes` (n,). Of one class, a box that overlaps a
    better one by more than `iou` goes. `kind` says what overlap is: 'default' plain IoU (Darknet's
    do_nms_sort); 'greedynms' IoU - (d^2/c^2)^0.6 and 'diounms' IoU - (d^2/c^2)^beta (diounms_sort), where
    d is the distance of the centres and c the diagonal around both boxes. Darknet measures these on boxes
    as fractions of the picture.
    """
    if kind not in KINDS:
        raise ValueError(f"the kind of NMS is {kind!r}; expected one of {KINDS}")
    exponent = None if kind == DEFAULT else 0.6 if kind == GREEDYNMS else beta
    # Stable, so that equal scores keep the order of the heads on every platform.
    order = np.argsort(-scores, kind="stable")
    kept = [_one_class(boxes, order[classes[order] == label], iou, exponent) for label in np.unique(classes)]
    chosen = np.concatenate([*kept, np.empty(0, np.intp)])
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def _one_class(
    boxes: NDArray[np.float32], ranked: NDArray[np.intp], iou: float, exponent: float | None
) -> NDArray[np.intp]:
    kept = []
    while len(ranked):
        block, rest = ranked[:_BLOCK], ranked[_BLOCK:]
        inside = _overlap(boxes[block], boxes[block], exponent) > iou
        alive = np.ones(len(block), bool)
        for index in range(len(block) - 1):
            if alive[index]:
                alive[index + 1 :] &= ~inside[index, index + 1 :]
        block = block[alive]
        kept.append(block)
        if len(rest):
            rest = rest[~(_overlap(boxes[block], boxes[rest], exponent) > iou).any(axis=0)]
        ranked = rest
    return np.concatenate(kept)


def _overlap(
    first: NDArray[np.float32], second: NDArray[np.float32], exponent: float | None
) -> NDArray[np.float32]:
    iou = iou_matrix(first, second)
    if exponent is None:
        return iou
    # Of the box around both, and between the centres: widths and heights, squared and summed.
    around = np.maximum(first[:, None, 2:], second[None, :, 2:]) - np.minimum(
        first[:, None, :2], second[None, :, :2]
    )
    apart = (first[:, None, :2] + first[:, None, 2:] - second[None, :, :2] - second[None, :, 2:]) / 2
    diagonal = np.maximum((around**2).sum(axis=-1), np.finfo(np.float32).tiny)
    return iou - ((apart**2).sum(axis=-1) / diagonal) ** np.float32(exponent)
