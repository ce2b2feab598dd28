"""Darknet's YOLOv3 loss, and CIoU as the other choice, on the device and for every Keras backend.

The gradients that Darknet sets by hand (forward_yolo_layer) are those of: binary cross-entropy for x, y,
objectness and classes, and half the squared error of the log-space width and height, the latter and x, y
weighted by 2 - w*h. All terms are summed over a picture and averaged over the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from lookonce.darknet import Head

LOSSES = ("v3", "ciou")
# exp() of more would overflow float16 and no box is e^10 times its anchor.
LARGEST_LOG_SIZE = 10.0


class YoloLoss:
    """The summed loss of all heads; `kind` is "v3" or "ciou", `ignore_thresh` overrides the cfg's."""

    def __init__(
        self,
        heads: Sequence[Head],
        input_size: tuple[int, int],
        kind: str = "v3",
        ignore_thresh: float | None = None,
    ) -> None:
        if kind not in LOSSES:
            raise ValueError(f"loss is {kind!r}; expected one of {LOSSES}")
        self.heads, self.kind, self.ignore_thresh = tuple(heads), kind, ignore_thresh
        self.input_size = input_size

    def __call__(self, truths: Any, outputs: Sequence[Any]) -> Any:
        """Scalar loss of raw heads `outputs`; `truths` (b, t, 5): cx, cy, w, h in 0..1, class, or zeros."""
        truths = ops.cast(truths, "float32")
        total = 0.0
        for head, output in zip(self.heads, outputs, strict=True):
            total = total + self._head_loss(head, truths, ops.cast(output, "float32"))
        return total

    def _head_loss(self, head: Head, truths: Any, output: Any) -> Any:
        grid_height, grid_width = int(output.shape[1]), int(output.shape[2])
        slots, depth = len(head.mask), 5 + head.classes
        raw = ops.reshape(output, (-1, grid_height * grid_width * slots, depth))
        if head.new_coords:
            raw = _logits_of_new_coords(raw)
        cells = _Cells(head, grid_height, grid_width, self.input_size)

        boxes, labels, valid = _sound(truths, head.classes)
        predicted = cells.decode(raw)
        best = ops.max(
            _iou(ops.stop_gradient(predicted), boxes) * ops.cast(valid, "float32")[:, None, :], axis=-1
        )
        flat, responsible = cells.assign(boxes, valid)
        if head.iou_thresh < 1:
            more, also = cells.assign_others(boxes, valid, head.iou_thresh)
            # Before the best ones: on one prediction the last counts.
            flat, responsible = (
                ops.concatenate([more, flat], axis=1),
                ops.concatenate([also, responsible], axis=1),
            )
            again = ops.repeat(boxes, slots, axis=1), ops.repeat(labels, slots, axis=1)
            boxes, labels = (
                ops.concatenate([again[0], boxes], axis=1),
                ops.concatenate([again[1], labels], axis=1),
            )

        ignore = self.ignore_thresh if self.ignore_thresh is not None else head.ignore_thresh
        numbers = ops.arange(grid_height * grid_width * slots, dtype="int32")[None, :, None]
        positive = ops.any(ops.logical_and(flat[:, None, :] == numbers, responsible[:, None, :]), axis=-1)
        negative = ops.logical_and(ops.logical_not(positive), best <= ignore)
        objectness = raw[..., 4]
        # With target t: softplus(z) - t*z.
        object_loss = ops.where(
            positive, ops.softplus(-objectness), ops.where(negative, ops.softplus(objectness), 0.0)
        )

        weight = ops.cast(_last_of_each_cell(flat, responsible), "float32")
        mine = ops.take_along_axis(raw, ops.broadcast_to(flat[..., None], (*ops.shape(flat), depth)), axis=1)
        box_loss = self._box_loss(head, cells, mine, flat, boxes)
        smooth = head.label_smooth_eps
        one_hot = ops.one_hot(labels, head.classes, dtype="float32") * (1 - smooth) + smooth / 2
        class_loss = ops.sum(ops.softplus(mine[..., 5:]) - one_hot * mine[..., 5:], axis=-1)

        per_truth = ops.sum(weight * (box_loss + head.cls_normalizer * class_loss), axis=-1)
        per_picture = per_truth + head.obj_normalizer * ops.sum(object_loss, axis=-1)
        return ops.mean(per_picture)

    def _box_loss(self, head: Head, cells: _Cells, mine: Any, flat: Any, boxes: Any) -> Any:
        if self.kind == "ciou":
            return head.iou_normalizer * (1.0 - _ciou(cells.decode_at(mine, flat), boxes))
        centre, size = cells.encode(boxes, flat)
        centre_loss = ops.sum(ops.softplus(mine[..., :2]) - centre * mine[..., :2], axis=-1)
        size_loss = 0.5 * ops.sum(ops.square(size - mine[..., 2:4]), axis=-1)
        return (2.0 - boxes[..., 2] * boxes[..., 3]) * (centre_loss + size_loss)


class _Cells:
    """One head's grid: which cell and anchor a box belongs to, raw numbers to boxes and back. All in 0..1."""

    def __init__(self, head: Head, grid_height: int, grid_width: int, input_size: tuple[int, int]) -> None:
        input_wh = np.array([input_size[1], input_size[0]], "float32")
        all_anchors = (head.all_anchors / input_wh).astype("float32")
        corners = np.stack(np.meshgrid(np.arange(grid_width), np.arange(grid_height)), axis=-1).reshape(-1, 2)
        slot_of = np.full(len(all_anchors), -1, "int32")
        slot_of[list(head.mask)] = np.arange(len(head.mask))
        self.columns, self.slots = grid_width, len(head.mask)
        self.scale = float(head.scale_x_y)
        # As tensors: PyTorch mixes no numpy arrays with what needs a gradient.
        self.grid = ops.convert_to_tensor(np.array([grid_width, grid_height], "float32"))
        self.all_anchors = ops.convert_to_tensor(all_anchors)
        self.slot_of = ops.convert_to_tensor(slot_of)
        self.mask = ops.convert_to_tensor(np.array(head.mask, "int32"))
        self.corners = ops.convert_to_tensor(np.repeat(corners, self.slots, axis=0).astype("float32"))
        self.anchor_of_number = ops.convert_to_tensor(
            np.tile(all_anchors[list(head.mask)], (len(corners), 1))
        )

    def assign(self, boxes: Any, valid: Any) -> tuple[Any, Any]:
        """Number of the responsible prediction (b, t), and whether it is this head's: best anchor of all."""
        slot = ops.take(self.slot_of, ops.argmax(self._shape_iou(boxes), axis=-1))
        flat = self._cell_number(boxes) * self.slots + ops.maximum(slot, 0)
        return flat, ops.logical_and(valid, slot >= 0)

    def assign_others(self, boxes: Any, valid: Any, iou_thresh: float) -> tuple[Any, Any]:
        """Numbers (b, t * slots) of this head's anchors in each box's cell, and which fit it well enough.

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
        """IoU of boxes (b, t, 4) with all anchors as if around one centre, (b, t, anchors)."""
        sizes = boxes[..., None, 2:4]
        overlap = ops.prod(ops.minimum(sizes, self.all_anchors), axis=-1)
        union = ops.prod(sizes, axis=-1) + ops.prod(self.all_anchors, axis=-1) - overlap
        return overlap / union

    def _cell_number(self, boxes: Any) -> Any:
        cell = ops.cast(ops.clip(ops.floor(boxes[..., :2] * self.grid), 0.0, self.grid - 1), "int32")
        return cell[..., 1] * self.columns + cell[..., 0]

    def decode(self, raw: Any) -> Any:
        """Raw predictions (b, n, 5 + c) of the whole grid -> boxes (b, n, 4)."""
        return self._decode(raw, self.corners, self.anchor_of_number)

    def decode_at(self, raw: Any, flat: Any) -> Any:
        """Raw predictions (b, t, 5 + c) gathered at numbers (b, t) -> boxes (b, t, 4)."""
        return self._decode(raw, *self._at(flat))

    def encode(self, boxes: Any, flat: Any) -> tuple[Any, Any]:
        """Boxes (b, t, 4) as targets at numbers (b, t): the centre's sigmoid and the log size, (b, t, 2)."""
        corners, anchors = self._at(flat)
        inside = ops.clip(boxes[..., :2] * self.grid - corners, 0.0, 1.0)
        return (inside + (self.scale - 1) / 2) / self.scale, ops.log(boxes[..., 2:4] / anchors)

    def _at(self, flat: Any) -> tuple[Any, Any]:
        return ops.take(self.corners, flat, axis=0), ops.take(self.anchor_of_number, flat, axis=0)

    def _decode(self, raw: Any, corners: Any, anchors: Any) -> Any:
        centre = (ops.sigmoid(raw[..., :2]) * self.scale - (self.scale - 1) / 2 + corners) / self.grid
        size = ops.exp(ops.clip(raw[..., 2:4], -LARGEST_LOG_SIZE, LARGEST_LOG_SIZE)) * anchors
        return ops.concatenate([centre, size], axis=-1)


def _sound(truths: Any, classes: int) -> tuple[Any, Any, Any]:
    """Boxes, labels and validity; whatever is not a box becomes a harmless one that counts nowhere."""
    finite = ops.all(ops.isfinite(truths), axis=-1)
    label = ops.where(finite, truths[..., 4], -1.0)
    in_range = ops.logical_and(label >= 0, label < classes)
    has_area = ops.all(truths[..., 2:4] > 0, axis=-1)
    valid = ops.logical_and(ops.logical_and(finite, in_range), has_area)
    safe = ops.where(valid[..., None], truths[..., :4], 0.5)
    boxes = ops.concatenate([ops.clip(safe[..., :2], 0.0, 1.0), ops.clip(safe[..., 2:], 1e-5, 1.0)], axis=-1)
    return boxes, ops.cast(ops.where(valid, label, 0.0), "int32"), valid


def _last_of_each_cell(flat: Any, responsible: Any) -> Any:
    """Of several truths on one prediction the last counts, as Darknet's loop overwrites. (b, t) bool."""
    count = int(flat.shape[1])
    later = ops.convert_to_tensor(np.triu(np.ones((count, count), bool), k=1)[None])
    same = ops.logical_and(flat[:, :, None] == flat[:, None, :], responsible[:, None, :])
    overwritten = ops.any(ops.logical_and(same, later), axis=-1)
    return ops.logical_and(responsible, ops.logical_not(overwritten))


def _logits_of_new_coords(raw: Any) -> Any:
    """`new_coords` heads come as probabilities with size (2t)^2: the same numbers in v3's raw form."""
    safe = ops.clip(raw, 1e-6, 1 - 1e-6)
    logits = ops.log(safe) - ops.log(1 - safe)
    return ops.concatenate([logits[..., :2], 2 * ops.log(2 * safe[..., 2:4]), logits[..., 4:]], axis=-1)


def _iou(predicted: Any, boxes: Any) -> Any:
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


def _ciou(predicted: Any, boxes: Any) -> Any:
    """Complete IoU of paired cx, cy, w, h boxes (Zheng et al. 2020, equations 9 to 12), shape (b, t)."""
    low = ops.minimum(predicted[..., :2] - predicted[..., 2:] / 2, boxes[..., :2] - boxes[..., 2:] / 2)
    high = ops.maximum(predicted[..., :2] + predicted[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2)
    # Along each axis the overlap is the sum of both sides less the hull's.
    overlap = ops.prod(ops.maximum(predicted[..., 2:] + boxes[..., 2:] - (high - low), 0.0), axis=-1)
    union = ops.prod(predicted[..., 2:], axis=-1) + ops.prod(boxes[..., 2:], axis=-1) - overlap
    iou = overlap / (union + 1e-9)
    distance = ops.sum(ops.square(predicted[..., :2] - boxes[..., :2]), axis=-1)
    diagonal = ops.sum(ops.square(high - low), axis=-1)
    angle = ops.arctan2(boxes[..., 2], boxes[..., 3]) - ops.arctan2(predicted[..., 2], predicted[..., 3])
    aspect = (4 / np.pi**2) * ops.square(angle)
    alpha = ops.stop_gradient(aspect / (1 - iou + aspect + 1e-9))
    return iou - distance / (diagonal + 1e-9) - alpha * aspect
