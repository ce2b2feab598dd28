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
from lookonce.training.cells import Cells
from lookonce.training.overlap import ciou, iou

LOSSES = ("v3", "ciou")


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
        cells = Cells(head, grid_height, grid_width, self.input_size)

        boxes, labels, valid = _sound(truths, head.classes)
        predicted = cells.decode(raw)
        best = ops.max(
            iou(ops.stop_gradient(predicted), boxes) * ops.cast(valid, "float32")[:, None, :], axis=-1
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

    def _box_loss(self, head: Head, cells: Cells, mine: Any, flat: Any, boxes: Any) -> Any:
        if self.kind == "ciou":
            return head.iou_normalizer * (1.0 - ciou(cells.decode_at(mine, flat), boxes))
        centre, size = cells.encode(boxes, flat)
        centre_loss = ops.sum(ops.softplus(mine[..., :2]) - centre * mine[..., :2], axis=-1)
        size_loss = 0.5 * ops.sum(ops.square(size - mine[..., 2:4]), axis=-1)
        return (2.0 - boxes[..., 2] * boxes[..., 3]) * (centre_loss + size_loss)


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
