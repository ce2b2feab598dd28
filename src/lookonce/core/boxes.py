"""Box formats, IoU, and the geometry between an original image and the network's input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

LETTERBOX = "letterbox"
STRETCH = "stretch"
RESIZES = (LETTERBOX, STRETCH)


def xyxy_to_cxcywh(boxes: Array) -> Array:
    """Convert corners (n, 4) to centre and size (n, 4), in the same unit."""
    boxes = np.asarray(boxes, np.float32)
    low, high = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=-1)


def cxcywh_to_xyxy(boxes: Array) -> Array:
    """Convert centre and size (n, 4) to corners (n, 4), in the same unit."""
    boxes = np.asarray(boxes, np.float32)
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def iou_matrix(first: Array, second: Array) -> Array:
    """Return the IoU of all pairs of xyxy boxes; 0 where both have no area.

    Args:
        first: float32 (n, 4).
        second: float32 (m, 4), in the same unit.

    Returns:
        float32 (n, m).

    >>> iou_matrix([[0, 0, 10, 10]], [[0, 0, 10, 5], [20, 20, 30, 30]]).tolist()
    [[0.5, 0.0]]
    """
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = np.prod(first[:, 2:] - first[:, :2], axis=-1)[:, None]
    union = areas + np.prod(second[:, 2:] - second[:, :2], axis=-1)[None] - overlap
    return overlap / np.maximum(union, np.finfo(np.float32).tiny)


def centred_iou(sizes: Array, anchors: Array) -> Array:
    """Return the IoU of boxes and anchors around one centre: (n, 2), (k, 2) widths and heights -> (n, k)."""
    sizes, anchors = np.asarray(sizes, np.float32), np.asarray(anchors, np.float32)
    overlap = np.prod(np.minimum(sizes[:, None], anchors[None]), axis=-1)
    union = np.prod(sizes, axis=-1)[:, None] + np.prod(anchors, axis=-1)[None] - overlap
    return overlap / np.maximum(union, np.finfo(np.float32).tiny)


def clip_boxes(boxes: Array, width: float, height: float) -> Array:
    """Clip xyxy boxes (n, 4) to an image; a box wholly outside keeps no area."""
    boxes = np.asarray(boxes, np.float32)
    return np.clip(boxes, 0, np.asarray([width, height, width, height], np.float32))


@dataclass(frozen=True)
class Geometry:
    """Placement of one image in the network's input (Darknet's letterbox_image or resize_image).

    `pasted_*` is the whole-pixel rectangle that the resized image covers in the input. Boxes are
    converted with the scale of that rectangle and the unrounded half of the border, as in Darknet's
    correct_yolo_boxes: with an odd border the offset is half a pixel more than the pasted position.
    """

    width: int
    height: int
    input_width: int
    input_height: int
    pasted_left: int
    pasted_top: int
    pasted_width: int
    pasted_height: int
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    @classmethod
    def fit(cls, width: int, height: int, input_size: tuple[int, int], resize: str) -> Geometry:
        """Place a (width, height) image in an input of `input_size` (height, width).

        >>> geometry = Geometry.fit(640, 480, (416, 416), "letterbox")
        >>> geometry.to_input([[0, 0, 640, 480]]).tolist()
        [[0.0, 52.0, 416.0, 364.0]]
        """
        input_height, input_width = input_size
        if resize == STRETCH:
            scales = (input_width / width, input_height / height)
            return cls(
                width, height, input_width, input_height, 0, 0, input_width, input_height, *scales, 0.0, 0.0
            )
        if resize != LETTERBOX:
            raise ValueError(f"resize is {resize!r}; expected one of {RESIZES}")
        # Integer division as in Darknet: one side fills the input, the other is rounded down to whole pixels.
        if input_width * height < input_height * width:
            pasted = (input_width, max(1, height * input_width // width))
        else:
            pasted = (max(1, width * input_height // height), input_height)
        left, top = (input_width - pasted[0]) // 2, (input_height - pasted[1]) // 2
        offsets = ((input_width - pasted[0]) / 2, (input_height - pasted[1]) / 2)
        scales = (pasted[0] / width, pasted[1] / height)
        return cls(width, height, input_width, input_height, left, top, *pasted, *scales, *offsets)

    def to_input(self, boxes: Array) -> Array:
        """Convert xyxy boxes (n, 4) from original pixels to network-input pixels."""
        scale = np.asarray([self.scale_x, self.scale_y] * 2, np.float32)
        return np.asarray(boxes, np.float32) * scale + np.asarray(
            [self.offset_x, self.offset_y] * 2, np.float32
        )

    def to_image(self, boxes: Array) -> Array:
        """Convert xyxy boxes (n, 4) from network-input pixels to original pixels, without clipping."""
        scale = np.asarray([self.scale_x, self.scale_y] * 2, np.float32)
        return (
            np.asarray(boxes, np.float32) - np.asarray([self.offset_x, self.offset_y] * 2, np.float32)
        ) / scale
