"""Training images composed of several: four around a point (mosaic), two blended (mixup)."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from lookonce.training.data.augment import GREY, Array, Augmentation, Image, augment

Labels = NDArray[np.int64]
Part = tuple[Image, Array, Labels]
Pick = Callable[[np.random.Generator], Part]

# The point where four meet lies in the middle part of the image.
_NEAREST, _FARTHEST = 0.3, 0.7


def compose(
    first: Part,
    pick: Pick,
    rng: np.random.Generator,
    input_size: tuple[int, int],
    resize: str,
    how: Augmentation,
) -> Part:
    """Compose `first` and others that `pick` chooses to one image of `input_size` with its boxes and classes.

    Mosaic as in Darknet's load_data_detection (YOLOv4, Bochkovskiy et al. 2020, section 3.3), at the scale of
    whole images; mixup (Zhang et al. 2018) with the boxes of both, as detectors use it.
    """
    image, boxes, classes = _one(first, pick, rng, input_size, resize, how)
    if how.mixup and rng.uniform() < how.mixup:
        other, more, theirs = _one(pick(rng), pick, rng, input_size, resize, how)
        share = float(rng.beta(8.0, 8.0))
        image = np.asarray(cv2.addWeighted(image, share, other, 1 - share, 0), np.uint8)
        boxes, classes = np.concatenate([boxes, more]), np.concatenate([classes, theirs])
    return image, boxes, classes


def _one(
    first: Part,
    pick: Pick,
    rng: np.random.Generator,
    input_size: tuple[int, int],
    resize: str,
    how: Augmentation,
) -> Part:
    if how.mosaic and rng.uniform() < how.mosaic:
        return _mosaic(first, pick, rng, input_size, resize, how)
    image, boxes, keep = augment(first[0], first[1], rng, input_size, resize, how)
    return image, boxes[keep], first[2][keep]


def _mosaic(
    first: Part,
    pick: Pick,
    rng: np.random.Generator,
    input_size: tuple[int, int],
    resize: str,
    how: Augmentation,
) -> Part:
    height, width = input_size
    x, y = (int(side * rng.uniform(_NEAREST, _FARTHEST)) for side in (width, height))
    corners = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
    image = np.full((height, width, 3), GREY, np.uint8)
    boxes: list[Array] = []
    classes: list[Labels] = []
    mine = int(rng.integers(4))
    for number, (left, top, right, bottom) in enumerate(corners):
        part = first if number == mine else pick(rng)
        window = (bottom - top, right - left)
        image[top:bottom, left:right], found, keep = augment(
            part[0], part[1], rng, input_size, resize, how, window
        )
        boxes.append(found[keep] + np.array([left, top] * 2, np.float32))
        classes.append(part[2][keep])
    return image, np.concatenate(boxes), np.concatenate(classes)
