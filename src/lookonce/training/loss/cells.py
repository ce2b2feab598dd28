"""One head's grid as tensors: assign boxes to predictions, decode and encode boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from lookonce.darknet import LARGEST_LOG_SIZE, Head


class Cells:
    """One head's grid: assigns boxes to predictions, decodes and encodes boxes. All coordinates in 0..1.

    `grid` is (rows, columns) and `input_size` (height, width) in pixels: numbers, or, where batches of
    several sizes go through one graph, scalar tensors.
    """

    def __init__(self, head: Head, grid: tuple[Any, Any], input_size: tuple[Any, Any]) -> None:
        rows, columns = (ops.cast(side, "int32") for side in grid)
        slot_of = np.full(len(head.all_anchors), -1, "int32")
        slot_of[list(head.mask)] = np.arange(len(head.mask))
        self.columns, self.slots = columns, len(head.mask)
        self.scale = float(head.scale_x_y)
        # As tensors: PyTorch mixes no numpy arrays with what needs a gradient.
        input_wh = ops.stack([ops.cast(side, "float32") for side in (input_size[1], input_size[0])])
        self.grid = ops.stack([ops.cast(side, "float32") for side in (columns, rows)])
        self.all_anchors = ops.convert_to_tensor(head.all_anchors.astype("float32")) / input_wh
        self.slot_of = ops.convert_to_tensor(slot_of)
        self.mask = ops.convert_to_tensor(np.array(head.mask, "int32"))
        numbers = ops.arange(grid[0] * grid[1] * self.slots, dtype="int32")
        cell = numbers // self.slots
        corners = ops.stack([cell % columns, cell // columns], axis=-1)
        self.corners = ops.cast(corners, "float32")
        own = ops.take(self.all_anchors, self.mask, axis=0)
        self.anchor_of_number = ops.take(own, numbers % self.slots, axis=0)
        self.numbers = numbers

    def assign(self, boxes: Any, valid: Any) -> tuple[Any, Any]:
        """Return each box's prediction (b, t), that of the best anchor, and whether it is this head's."""
        slot = ops.take(self.slot_of, ops.argmax(self._shape_iou(boxes), axis=-1))
        flat = self._cell_number(boxes) * self.slots + ops.maximum(slot, 0)
        return flat, ops.logical_and(valid, slot >= 0)

    def assign_others(self, boxes: Any, valid: Any, iou_thresh: float) -> tuple[Any, Any]:
        """Return the indices (b, t * slots) of this head's anchors in each box's cell, and which fit well enough.

        Not those that are responsible anyway; Darknet's `iou_thresh`, which YOLOv4's cfg sets.
        """
        overlap = self._shape_iou(boxes)
        own = ops.take(overlap, self.mask, axis=-1)
        fits = ops.logical_and(own > iou_thresh, own < ops.max(overlap, axis=-1, keepdims=True))
        numbers = self._cell_number(boxes)[..., None] * self.slots + ops.arange(self.slots, dtype="int32")
        count = int(boxes.shape[1]) * self.slots
        chosen = ops.logical_and(fits, valid[..., None])
        return ops.reshape(numbers, (-1, count)), ops.reshape(chosen, (-1, count))

    def _shape_iou(self, boxes: Any) -> Any:
        """Return the IoU of boxes (b, t, 4) with all anchors around a shared centre, (b, t, anchors)."""
        sizes = boxes[..., None, 2:4]
        overlap = ops.prod(ops.minimum(sizes, self.all_anchors), axis=-1)
        union = ops.prod(sizes, axis=-1) + ops.prod(self.all_anchors, axis=-1) - overlap
        return overlap / union

    def _cell_number(self, boxes: Any) -> Any:
        cell = ops.cast(ops.clip(ops.floor(boxes[..., :2] * self.grid), 0.0, self.grid - 1), "int32")
        return cell[..., 1] * self.columns + cell[..., 0]

    def decode(self, raw: Any) -> Any:
        """Decode raw predictions (b, n, 5 + c) of the whole grid to boxes (b, n, 4)."""
        return self._decode(raw, self.corners, self.anchor_of_number)

    def decode_at(self, raw: Any, flat: Any) -> Any:
        """Decode raw predictions (b, t, 5 + c), gathered at indices (b, t), to boxes (b, t, 4)."""
        return self._decode(raw, *self._at(flat))

    def encode(self, boxes: Any, flat: Any) -> tuple[Any, Any]:
        """Encode boxes (b, t, 4) as targets at indices (b, t): sigmoid of the centre and log of the size, (b, t, 2)."""
        corners, anchors = self._at(flat)
        inside = ops.clip(boxes[..., :2] * self.grid - corners, 0.0, 1.0)
        return (inside + (self.scale - 1) / 2) / self.scale, ops.log(boxes[..., 2:4] / anchors)

    def _at(self, flat: Any) -> tuple[Any, Any]:
        return ops.take(self.corners, flat, axis=0), ops.take(self.anchor_of_number, flat, axis=0)

    def _decode(self, raw: Any, corners: Any, anchors: Any) -> Any:
        centre = (ops.sigmoid(raw[..., :2]) * self.scale - (self.scale - 1) / 2 + corners) / self.grid
        size = ops.exp(ops.clip(raw[..., 2:4], -LARGEST_LOG_SIZE, LARGEST_LOG_SIZE)) * anchors
        return ops.concatenate([centre, size], axis=-1)
