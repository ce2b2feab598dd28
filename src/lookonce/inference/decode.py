"""Decode a head's raw numbers to boxes, as Darknet's yolo layer does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import cxcywh_to_xyxy
from lookonce.darknet import LARGEST_LOG_SIZE, Head

Candidates = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]

# Candidates are picked by raw objectness a little below the threshold, then compared exactly.
_MARGIN = 1e-3


def decode(
    heads: Sequence[NDArray[np.float32]],
    specs: Sequence[Head],
    input_size: tuple[int, int],
    threshold: float,
) -> Candidates:
    """Return every (box, class) of one image with objectness and probability above `threshold`.

    `heads`: one (grid height, grid width, anchors * (5 + classes)) array a head, the raw numbers before
    Darknet's `[yolo]`; `specs` in the same order; `input_size` (height, width).
    Returns boxes (k, 4) float32 xyxy in input pixels, scores (k,) float32, classes (k,) int64; a box that
    passes for several classes stands once for each (Darknet's get_yolo_detections). Boxes that aren't
    finite, or are beyond LARGEST_LOG_SIZE, as of a training gone wrong, are left out.
    """
    parts = [_decode_head(raw, spec, input_size, threshold) for raw, spec in zip(heads, specs, strict=True)]
    boxes, scores, classes = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return boxes, scores, classes


def _decode_head(
    raw: NDArray[np.float32], spec: Head, input_size: tuple[int, int], threshold: float
) -> Candidates:
    grid_height, grid_width, channels = raw.shape
    anchors = np.asarray(spec.anchors, np.float32)
    if channels != len(anchors) * (5 + spec.classes):
        raise ValueError(
            f"a head has {channels} channels; expected {len(anchors)} anchors * (5 + {spec.classes} classes)"
        )
    cells = raw.reshape(grid_height, grid_width, len(anchors), 5 + spec.classes)
    rows, columns, which = np.nonzero(cells[..., 4] > _raw_threshold(threshold, spec.new_coords))
    picked = cells[rows, columns, which].astype(np.float32, copy=False)
    activate = _as_it_is if spec.new_coords else _sigmoid

    # scale_x_y stretches the cell's reach around its middle.
    reach = np.float32(spec.scale_x_y)
    offsets = activate(picked[:, :2]) * reach - (reach - 1) / 2
    grid = np.asarray([grid_width, grid_height], np.float32)
    input_wh = np.asarray(input_size[::-1], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        centres = (np.stack([columns, rows], axis=1).astype(np.float32) + offsets) / grid * input_wh
        sizes = picked[:, 2:4]
        clamped = np.clip(sizes, -LARGEST_LOG_SIZE, LARGEST_LOG_SIZE)
        factors = (2 * sizes) ** 2 if spec.new_coords else np.exp(clamped)
        boxes = cxcywh_to_xyxy(np.concatenate([centres, factors * anchors[which]], axis=1))

    objectness = activate(picked[:, 4])
    probabilities = objectness[:, None] * activate(picked[:, 5:])
    usable = (objectness > threshold) & np.isfinite(boxes).all(axis=1)
    if not spec.new_coords:
        # Beyond the clamp, the network has gone wrong: no object is that much larger than its anchor.
        usable &= (sizes <= LARGEST_LOG_SIZE).all(axis=1)
    index, classes = np.nonzero((probabilities > threshold) & usable[:, None])
    return boxes[index], probabilities[index, classes], classes.astype(np.int64)


def _raw_threshold(threshold: float, activated: bool) -> float:
    if activated:
        return threshold - _MARGIN
    if threshold <= 0:
        return -np.inf
    if threshold >= 1:
        return np.inf
    return float(np.log(threshold / (1 - threshold))) - _MARGIN


def _sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    # exp of a large positive number overflows to inf, and 1 / inf is the right answer.
    with np.errstate(over="ignore"):
        return np.float32(1) / (np.float32(1) + np.exp(-values))


def _as_it_is(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values
