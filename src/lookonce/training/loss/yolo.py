"""The YOLO loss of Darknet, on the device and for every Keras backend.

Darknet writes gradients, not losses (forward_yolo_layer, delta_yolo_box). With `iou_loss=mse`,
pjreddie's only one, they are those of binary cross-entropy for x, y, objectness and classes and of half
the squared error of the log-space width and height; x, y, width and height are weighted by 2 - w * h.
With an IoU loss the gradient of the overlap with respect to the box, in shares of the image, is written
to the raw x, y, w, h as it stands, w and h times their own exponential: the factors of the cell's and
the anchor's size and of the sigmoid are left out. The graph here has the value of the loss and Darknet's
gradient.

What the cfg's normalizers multiply, in AlexeyAB's parser.c and yolo_layer.c:

- `iou_normalizer`: the gradient of x, y, w, h. Because of the factors left out, 0.07 weighs about as
  much as 1 to 2 on a true CIoU loss. With mse it counts where the cfg states it; pjreddie's code has no
  such factor.
- `obj_normalizer`: the gradient of objectness, with and without an object.
- `cls_normalizer`: classes only together with `counters_per_class`, which is not supported: no effect
  alone.
- `max_delta`: a bound on each of the gradients of x, y, w, h after `iou_normalizer`; IoU losses only.

All terms are summed over an image and averaged over the batch, as Darknet's division of the learning
rate by the batch does. Where several ground-truth boxes fall on one prediction, the last counts; Darknet
adds up their box gradients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from keras import ops

from lookonce.darknet import LARGEST_LOG_SIZE, Head
from lookonce.errors import LookonceError
from lookonce.training.loss.cells import Cells
from lookonce.training.loss.overlap import iou, paired_overlap

IOU_LOSSES = ("iou", "giou", "diou", "ciou")
CFG_LOSS, V3_LOSS = "cfg", "v3"
LOSSES = (CFG_LOSS, V3_LOSS, *IOU_LOSSES)


class YoloLoss:
    """The summed loss of all heads.

    `kind` is one of LOSSES: "cfg" takes each head's `iou_loss`, "v3" is Darknet's mse. `ignore_thresh`
    and `iou_thresh` override the cfg's, `box_weight` its `iou_normalizer`. `focal_gamma` above 0 turns
    objectness into focal loss (Lin et al. 2017, equation 4, without alpha). `hard_negatives` below 1 is
    the share of the predictions without an object that count in each image: those with the largest loss
    (Shrivastava et al. 2016).
    """

    def __init__(
        self,
        heads: Sequence[Head],
        input_size: tuple[int, int],
        kind: str = CFG_LOSS,
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
        for head in self.heads:
            _refuse_unsupported(head)
        self.kind, self.input_size, self.box_weight = kind, input_size, box_weight
        self.focal_gamma, self.hard_negatives = focal_gamma, hard_negatives

    def __call__(self, truths: Any, outputs: Sequence[Any], input_size: tuple[Any, Any] | None = None) -> Any:
        """Return the scalar loss of raw heads `outputs`; `truths` (b, t, 5): cx, cy, w, h in 0..1, class, or zeros.

        `input_size` (height, width) of the images, where it differs from the usual one.
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
        stated = ops.reshape(output, (images, rows * columns * slots, depth))
        raw = _logits_of_new_coords(stated) if head.new_coords else stated
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
        places = ops.broadcast_to(flat[..., None], (*ops.shape(flat), depth))
        mine = ops.take_along_axis(raw, places, axis=1)
        if self._kind_of(head) == V3_LOSS:
            box_loss = self._v3_box_loss(head, cells, mine, flat, boxes)
        else:
            own = ops.take_along_axis(stated, places, axis=1)
            box_loss = self._iou_box_loss(head, cells, own, flat, boxes)
        smooth = head.label_smooth_eps
        one_hot = ops.one_hot(labels, head.classes, dtype="float32") * (1 - smooth) + smooth / 2
        class_loss = ops.sum(ops.softplus(mine[..., 5:]) - one_hot * mine[..., 5:], axis=-1)

        per_truth = ops.sum(weight * (box_loss + class_loss), axis=-1)
        per_image = per_truth + head.obj_normalizer * object_loss
        return ops.mean(per_image)

    def _object_loss(self, objectness: Any, positive: Any, negative: Any) -> Any:
        """Return the cross-entropy (b,) of logits (b, n) where there is an object, and where there is none."""
        # With target t: softplus(z) - t*z.
        found, missed = ops.softplus(-objectness), ops.softplus(objectness)
        if self.focal_gamma:
            found = found * ops.sigmoid(-objectness) ** self.focal_gamma
            missed = missed * ops.sigmoid(objectness) ** self.focal_gamma
        missed = ops.where(negative, missed, 0.0)
        if self.hard_negatives < 1:
            missed = _largest(missed, self.hard_negatives)
        return ops.sum(ops.where(positive, found, 0.0), axis=-1) + ops.sum(missed, axis=-1)

    def _kind_of(self, head: Head) -> str:
        if self.kind != CFG_LOSS:
            return self.kind
        return V3_LOSS if head.iou_loss == "mse" else head.iou_loss

    def _iou_box_loss(self, head: Head, cells: Cells, own: Any, flat: Any, boxes: Any) -> Any:
        """Return 1 - overlap (b, t), weighted; `own` (b, t, 5 + c) is what the network gives at `flat`."""
        if head.max_delta < math.inf:
            # The mean over the batch comes after: there the gradients of an image are so much smaller.
            own = clipped_gradient(own, head.max_delta / ops.cast(ops.shape(own)[0], "float32"))
        if head.new_coords:
            decoded, source = cells.decode_at(_logits_of_new_coords(own), flat), own[..., :4]
        else:
            decoded = cells.decode_at(own, flat)
            sizes = ops.exp(ops.clip(own[..., 2:4], -LARGEST_LOG_SIZE, LARGEST_LOG_SIZE))
            source = ops.concatenate([own[..., :2], sizes], axis=-1)
        # The value of the box, with Darknet's gradient.
        predicted = ops.stop_gradient(decoded - source) + source
        weight = head.iou_normalizer if self.box_weight is None else self.box_weight
        return weight * (1.0 - paired_overlap(predicted, boxes, self._kind_of(head)))

    def _v3_box_loss(self, head: Head, cells: Cells, mine: Any, flat: Any, boxes: Any) -> Any:
        centre, size = cells.encode(boxes, flat)
        centre_loss = ops.sum(ops.softplus(mine[..., :2]) - centre * mine[..., :2], axis=-1)
        size_loss = 0.5 * ops.sum(ops.square(size - mine[..., 2:4]), axis=-1)
        stated = head.iou_normalizer if head.iou_loss == "mse" else 1.0
        weight = stated if self.box_weight is None else self.box_weight
        return weight * (2.0 - boxes[..., 2] * boxes[..., 3]) * (centre_loss + size_loss)


def _refuse_unsupported(head: Head) -> None:
    """Raise LookonceError for what the head's cfg asks of a training and this loss cannot give."""
    where = f"the [yolo] section of layer {head.layer}"
    if head.iou_loss not in ("mse", *IOU_LOSSES):
        known = ", ".join(("mse", *IOU_LOSSES))
        raise LookonceError(f"{where} has iou_loss={head.iou_loss}; expected one of {known}. Fix the cfg.")
    if head.truth_thresh < 1:
        raise LookonceError(
            f"{where} has truth_thresh={head.truth_thresh:g}: positives chosen by their overlap "
            "are not supported. Set truth_thresh=1 in the cfg."
        )


def _sound(truths: Any, classes: int) -> tuple[Any, Any, Any]:
    """Return boxes, labels and validity; an invalid box is replaced by a harmless one that does not count."""
    finite = ops.all(ops.isfinite(truths), axis=-1)
    label = ops.where(finite, truths[..., 4], -1.0)
    in_range = ops.logical_and(label >= 0, label < classes)
    has_area = ops.all(truths[..., 2:4] > 0, axis=-1)
    valid = ops.logical_and(ops.logical_and(finite, in_range), has_area)
    safe = ops.where(valid[..., None], truths[..., :4], 0.5)
    boxes = ops.concatenate([ops.clip(safe[..., :2], 0.0, 1.0), ops.clip(safe[..., 2:], 1e-5, 1.0)], axis=-1)
    return boxes, ops.cast(ops.where(valid, label, 0.0), "int32"), valid


def _largest(values: Any, share: float) -> Any:
    """Return the largest `share` of each row of (b, n), sorted, and 0 for the others."""
    count = ops.cast(ops.shape(values)[1], "float32")
    rank = ops.cumsum(ops.ones_like(values), axis=-1)
    return ops.where(rank > ops.floor((1 - share) * count), ops.sort(values, axis=-1), 0.0)


def clipped_gradient(tensor: Any, limit: Any) -> Any:
    """Return `tensor` unchanged; the gradient through it is clipped to -limit..limit (Darknet's `max_delta`)."""

    @ops.custom_gradient
    def pass_on(inner: Any) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            return ops.clip(args[0] if upstream is None else upstream, -limit, limit)

        return inner, gradient

    return pass_on(tensor)


def _last_of_each_cell(flat: Any, responsible: Any) -> Any:
    """Return which boxes count (b, t): of several on one prediction the last, as in Darknet's loop."""
    count = int(flat.shape[1])
    later = ops.convert_to_tensor(np.triu(np.ones((count, count), bool), k=1)[None])
    same = ops.logical_and(flat[:, :, None] == flat[:, None, :], responsible[:, None, :])
    overwritten = ops.any(ops.logical_and(same, later), axis=-1)
    return ops.logical_and(responsible, ops.logical_not(overwritten))


def _logits_of_new_coords(raw: Any) -> Any:
    """Convert the probabilities of a `new_coords` head, with sizes (2t)^2, to v3's raw form."""
    safe = ops.clip(raw, 1e-6, 1 - 1e-6)
    logits = ops.log(safe) - ops.log(1 - safe)
    return ops.concatenate([logits[..., :2], 2 * ops.log(2 * safe[..., 2:4]), logits[..., 4:]], axis=-1)
