"""Bring a picture to the network's input exactly as Darknet does, in numpy."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lookonce.boxes import Geometry

# What Darknet's letterbox_image leaves around the picture.
FILL = 0.5


def resize_darknet(image: NDArray[np.generic], width: int, height: int) -> NDArray[np.float32]:
    """Bilinear resize with aligned corners and no antialiasing: Darknet's `resize_image`.

    `image` (h, w, 3) is uint8, or float in 0..1; the answer is float32 (height, width, 3) in 0..1.
    cv2.resize puts its samples elsewhere (mean difference 1e-2), cv2.warpAffine rounds them to 1/32 pixel.
    """
    high, wide = image.shape[:2]
    rows, next_rows, row_shares = _samples(high, height)
    columns, next_columns, column_shares = _samples(wide, width)
    # The axis that loses most goes first, which leaves the least to do for the second.
    if height * wide <= width * high:
        half = _blend(image, rows, next_rows, row_shares[:, None, None], axis=0)
        full = _blend(half, columns, next_columns, column_shares[None, :, None], axis=1)
    else:
        half = _blend(image, columns, next_columns, column_shares[None, :, None], axis=1)
        full = _blend(half, rows, next_rows, row_shares[:, None, None], axis=0)
    if image.dtype == np.uint8:
        full *= np.float32(1 / 255)
    return full


def to_input(
    image: NDArray[np.generic], input_size: tuple[int, int], resize: str
) -> tuple[NDArray[np.float32], Geometry]:
    """One network input (input height, input width, 3) float32 0..1, and how the picture lies in it.

    `image` (h, w, 3) is uint8 RGB, or float in 0..1; `input_size` is (height, width); `resize` is
    'letterbox' (Darknet's `letterbox_image`, 0.5 around the picture) or 'stretch'.
    """
    geometry = Geometry.fit(image.shape[1], image.shape[0], input_size, resize)
    pasted = resize_darknet(image, geometry.pasted_width, geometry.pasted_height)
    if pasted.shape[:2] == tuple(input_size):
        return pasted, geometry
    whole = np.full((*input_size, 3), FILL, np.float32)
    top, left = geometry.pasted_top, geometry.pasted_left
    whole[top : top + geometry.pasted_height, left : left + geometry.pasted_width] = pasted
    return whole, geometry


@lru_cache(maxsize=256)
def _samples(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `target` positions: the pixel before, the pixel after, and the share of the latter."""
    if target == 1:
        # Darknet's loop takes the last pixel when there is one position only.
        places = np.asarray([source - 1], np.float32)
    else:
        places = np.arange(target, dtype=np.float32) * np.float32((source - 1) / (target - 1))
    before = np.minimum(places.astype(np.intp), source - 1)
    after = np.minimum(before + 1, source - 1)
    shares = (places - before).astype(np.float32)
    shares[-1] = 0
    before[-1] = after[-1] = source - 1
    for cached in (before, after, shares):
        cached.flags.writeable = False
    return before, after, shares


def _blend(
    image: NDArray[np.generic],
    before: NDArray[np.intp],
    after: NDArray[np.intp],
    shares: NDArray[np.float32],
    axis: int,
) -> NDArray[np.float32]:
    if len(before) == image.shape[axis] and not shares.any():
        return image.astype(np.float32)
    first = np.take(image, before, axis=axis).astype(np.float32)
    second = np.take(image, after, axis=axis).astype(np.float32)
    second -= first
    second *= shares
    first += second
    return first
