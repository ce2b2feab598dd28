"""Augmentation of one image: one warp for scale, shift and flip, then one table look-up for colour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import Geometry, clip_boxes
from lookonce.errors import LookonceError

Image = NDArray[np.uint8]
Array = NDArray[np.float32]

GREY = (128, 128, 128)
_BOUNDS = {
    "smallest": (0.05, 20),
    "largest": (0.05, 20),
    "aspect": (1, 10),
    "hue": (0, 1),
    "saturation": (1, 100),
    "exposure": (1, 100),
    "least_visible": (0, 1),
    "mosaic": (0, 1),
    "mixup": (0, 1),
}


@dataclass(frozen=True)
class Augmentation:
    """Limits of the random changes to an image; `NONE` changes nothing.

    `smallest`, `largest`: scale against the plain fit. `flip` mirrors half of the images left to right,
    `flip_vertical` half of them top to bottom, for what has no up: cells, aerial views. `hue` in turns of
    the colour circle; `saturation` and `exposure` factors of at least 1, used as they are or inverted
    (Darknet's random_distort_image, whose cfgs ask for more: 0.1, 1.5, 1.5). A box stays while
    `least_visible` of its area does. `mosaic` and `mixup` are the shares of images made of four, and of
    two blended ones.
    """

    smallest: float = 0.7
    largest: float = 1.4
    aspect: float = 1.0
    flip: bool = True
    flip_vertical: bool = False
    hue: float = 0.02
    saturation: float = 1.3
    exposure: float = 1.3
    least_visible: float = 0.3
    mosaic: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        """Raise LookonceError for a strength that no image can have."""
        for name, (low, high) in _BOUNDS.items():
            if not low <= getattr(self, name) <= high:
                raise LookonceError(
                    f"the augmentation's {name} is {getattr(self, name):g}; expected {low:g} to {high:g}."
                )

    def changed(self, changes: Mapping[str, Any]) -> Augmentation:
        """Return a copy with other values; a change to None keeps the old one. Raises LookonceError."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


NONE = Augmentation(smallest=1.0, largest=1.0, flip=False, hue=0.0, saturation=1.0, exposure=1.0)


def augment(
    image: Image,
    boxes: Array,
    rng: np.random.Generator,
    input_size: tuple[int, int],
    resize: str,
    how: Augmentation,
    window: tuple[int, int] | None = None,
) -> tuple[Image, Array, NDArray[np.bool_]]:
    """Augment one image and its boxes.

    `image` (h, w, 3) uint8 RGB; `boxes` (n, 4) xyxy in its pixels; `input_size` (height, width). Returns the
    input uint8 (height, width, 3), boxes (n, 4) xyxy in input pixels, clipped, and which to keep (n,). With
    `window` (height, width) it is so large a part of the image, which keeps the scale of the whole input.
    """
    height, width = window or input_size
    fitted = Geometry.fit(image.shape[1], image.shape[0], input_size, resize)
    scale = float(np.exp(rng.uniform(np.log(how.smallest), np.log(how.largest))))
    stretch = float(np.exp(rng.uniform(-np.log(how.aspect), np.log(how.aspect)))) ** 0.5
    scale_x, scale_y = fitted.scale_x * scale * stretch, fitted.scale_y * scale / stretch
    anywhere = scale != 1 or window is not None
    # A smaller image lies anywhere inside the input, a larger one shows any part of itself.
    left = (width - image.shape[1] * scale_x) * (rng.uniform() if anywhere else 0.5)
    top = (height - image.shape[0] * scale_y) * (rng.uniform() if anywhere else 0.5)
    # warpAffine maps pixel centres, boxes are edges: hence the halves.
    shift, factor = np.array([left, top] * 2, np.float32), np.array([scale_x, scale_y] * 2, np.float32)
    matrix = np.array([[scale_x, 0, left + scale_x / 2 - 0.5], [0, scale_y, top + scale_y / 2 - 0.5]])
    moved = boxes * factor + shift
    covered = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32) * factor + shift
    if how.flip and rng.uniform() < 0.5:
        matrix[0] = [-matrix[0, 0], 0, width - 1 - matrix[0, 2]]
        moved, covered = _mirrored(moved, width), _mirrored(covered, width)
    if how.flip_vertical and rng.uniform() < 0.5:
        matrix[1] = [0, -matrix[1, 1], height - 1 - matrix[1, 2]]
        moved, covered = (
            _mirrored(array[:, [1, 0, 3, 2]], height)[:, [1, 0, 3, 2]] for array in (moved, covered)
        )
    warped = np.asarray(
        cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=GREY), np.uint8
    )
    clipped = clip_boxes(moved, width, height)
    visible = _areas(clipped) >= how.least_visible * np.maximum(_areas(moved), 1e-6)
    sides = clipped[:, 2:] - clipped[:, :2]
    keep = visible & (sides > 0).all(axis=1) & ((how.smallest == 1) | (sides >= 2).all(axis=1))
    # Only the image changes colour: what surrounds it is grey in use, too.
    covered = covered.clip(0, [width, height, width, height]).round().astype(int)[0]
    inside = np.s_[covered[1] : covered[3], covered[0] : covered[2]]
    warped[inside] = _distort(warped[inside], rng, how)
    return warped, clipped, keep


def _areas(boxes: Array) -> Array:
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def _mirrored(boxes: Array, width: int) -> Array:
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def _distort(image: Image, rng: np.random.Generator, how: Augmentation) -> Image:
    """Change colours as Darknet's random_distort_image, through three 256-entry tables."""
    hue = rng.uniform(-how.hue, how.hue)
    saturation = rng.uniform(1, how.saturation) ** rng.choice([-1, 1])
    exposure = rng.uniform(1, how.exposure) ** rng.choice([-1, 1])
    if (hue, saturation, exposure) == (0, 1, 1):
        return image
    levels = np.arange(256, dtype=np.float32)
    # OpenCV's 8-bit hue runs to 180.
    tables = (
        (levels + 180 * hue) % 180,
        np.clip(levels * saturation, 0, 255),
        np.clip(levels * exposure, 0, 255),
    )
    table = np.stack(tables, axis=1).astype(np.uint8)[:, None]
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    return np.asarray(cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB), np.uint8)
