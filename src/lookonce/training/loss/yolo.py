"""Darknet's YOLOv3 loss, and CIoU as the other choice, on the device and for every Keras backend.

The gradients that Darknet sets by hand (forward_yolo_layer) are those of: binary cross-entropy for x, y,
objectness and classes, and half the squared error of the log-space width and height, the latter and x, y
weighted by 2 - w*h. All terms are summed over an image and averaged over the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from keras import ops

from lookonce.darknet import Head
from lookonce.training.loss.cells import Cells
from lookonce.training.loss.overlap import ciou, iou

LOSSES = ("v3", "ciou")


class YoloLoss:
    """The summed loss of all heads; `kind` is "v3" or "ciou".

    `ignore_thresh` and `iou_thresh` override the cfg's, `box_weight` the boxes' weight: 1 with "v3", else the
    cfg's `iou_normalizer`. `focal_gamma` above 0 turns objectness into focal
    loss (Lin et al. 2017, equation 4, without alpha). `hard_negatives` below 1 is the share of the
    predictions without an object that count in each image: those with the largest loss (Shrivastava et
    al. 2016).
    """

    def __init__(
        self,
        heads: Sequence[Head],
        input_size: tuple[int, int],
        kind: str = "v3",
        ignore_thresh: float | None = None,
        iou_thresh: float | None = None,
        box_weight: float | None = None,
        focal_gamma: float = 0.0,
        hard_negatives: float = 1.0,
    ) -> None:
        if kind not in LOSSES:
            raise ValueError(f"loss is {kind!r}; expected one of {LOSSES}")
        own = {"ignore_thresh": ignore_thresh, "iou_thresh": iou_thresh}
        given: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
        self.heads = tuple(replace(head, **given) for head in heads)
        self.kind, self.input_size, self.box_weight = kind, input_size, box_weight
        self.focal_gamma, self.hard_negatives = focal_gamma, hard_negatives

    def __call__(self, truths: Any, outputs: Sequence[Any], input_size: tuple[Any, Any] | None = None) -> Any:
        """Scalar loss of raw heads `outputs`; `truths` (b, t, 5): cx, cy, w, h in 0..1, class, or zeros.

        `input_size` (height, width) of the images that they come from, where it isn't the usual one.
        """
        truths = ops.cast(truths, "float32")
        total = 0.0
        for head, output in zip(self.heads, outputs, strict=True):
            total = total + self._head_loss(
                head, truths, ops.cast(output, "float32"), input_size or self.input_size
            )
        return total

    def _head_loss(self, head: Head, truths: Any, output: Any, input_size: tuple[Any, Any]) -> Any:
        images, rows, columns, _ = ops.shape(output)
        slots, depth = len(head.mask), 5 + head.classes
        raw = ops.reshape(output, (images, rows * columns * slots, depth))
        if head.new_coords:
            raw = _logits_of_new_coords(raw)
        cells = Cells(head, (rows, columns), input_size)

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

        numbers = cells.numbers[None, :, None]
        positive = ops.any(ops.logical_and(flat[:, None, :] == numbers, responsible[:, None, :]), axis=-1)
        negative = ops.logical_and(ops.logical_not(positive), best <= head.ignore_thresh)
        object_loss = self._object_loss(raw[..., 4], positive, negative)

        weight = ops.cast(_last_of_each_cell(flat, responsible), "float32")
        mine = ops.take_along_axis(raw, ops.broadcast_to(flat[..., None], (*ops.shape(flat), depth)), axis=1)
        box_loss = self._box_loss(head, cells, mine, flat, boxes)
        smooth = head.label_smooth_eps
        one_hot = ops.one_hot(labels, head.classes, dtype="float32") * (1 - smooth) + smooth / 2
        class_loss = ops.sum(ops.softplus(mine[..., 5:]) - one_hot * mine[..., 5:], axis=-1)

        per_truth = ops.sum(weight * (box_loss + head.cls_normalizer * class_loss), axis=-1)
        per_image = per_truth + head.obj_normalizer * object_loss
        return ops.mean(per_image)

    def _object_loss(self, objectness: Any, positive: Any, negative: Any) -> Any:
        """Cross-entropy of logits (b, n) where there is an object, and where there is none; (b,)."""
        # With target t: softplus(z) - t*z.
        found, missed = ops.softplus(-objectness), ops.softplus(objectness)
        if self.focal_gamma:
            found = found * ops.sigmoid(-objectness) ** self.focal_gamma
            missed = missed * ops.sigmoid(objectness) ** self.focal_gamma
        missed = ops.where(negative, missed, 0.0)
        if self.hard_negatives < 1:
            missed = _largest(missed, self.hard_negatives)
        return ops.sum(ops.where(positive, found, 0.0), axis=-1) + ops.sum(missed, axis=-1)

    def _box_loss(self, head: Head, cells: Cells, mine: Any, flat: Any, boxes: Any) -> Any:
        if self.kind == "ciou":
            if head.max_delta < math.inf:
                # The mean over the batch comes after: there the gradients of an image are so much smaller.
                mine = clipped_gradient(mine, head.max_delta / ops.cast(ops.shape(mine)[0], "float32"))
            weight = head.iou_normalizer if self.box_weight is None else self.box_weight
            return weight * (1.0 - ciou(cells.decode_at(mine, flat), boxes))
        centre, size = cells.encode(boxes, flat)
        centre_loss = ops.sum(ops.softplus(mine[..., :2]) - centre * mine[..., :2], axis=-1)
        size_loss = 0.5 * ops.sum(ops.square(size - mine[..., 2:4]), axis=-1)
        weight = 1.0 if self.box_weight is None else self.box_weight
        return weight * (2.0 - boxes[..., 2] * boxes[..., 3]) * (centre_loss + size_loss)


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


def _largest(values: Any, share: float) -> Any:
    """The largest `share` of each row of (b, n), sorted; the others are 0."""
    count = ops.cast(ops.shape(values)[1], "float32")
    rank = ops.cumsum(ops.ones_like(values), axis=-1)
    return ops.where(rank > ops.floor((1 - share) * count), ops.sort(values, axis=-1), 0.0)


def clipped_gradient(tensor: Any, limit: Any) -> Any:
    """`tensor` as it is; the gradient through it is cut to -limit..limit (Darknet's `max_delta`)."""

    @ops.custom_gradient
    def pass_on(inner: Any) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            return ops.clip(args[0] if upstream is None else upstream, -limit, limit)

        return inner, gradient

    return pass_on(tensor)


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
