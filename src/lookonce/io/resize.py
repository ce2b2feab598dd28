"""Resizing to the network's input, exactly as Darknet does, in numpy."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import Geometry

# Value of the border in Darknet's letterbox_image.
FILL = 0.5
# Rows computed at a time: intermediate results then stay in the processor's cache.
_ROWS = 16


def resize_darknet(
    image: NDArray[np.generic], width: int, height: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Resize bilinearly with aligned corners and no antialiasing: Darknet's `resize_image`.

    `image` (h, w, 3) is uint8, or float in 0..1; the result is float32 (height, width, 3) in 0..1, written
    to `out` if given. cv2.resize samples other positions (mean difference 1e-2), cv2.warpAffine rounds them
    to 1/32 pixel.
    """
    high, wide = image.shape[:2]
    rows, next_rows, row_shares = _samples(high, height)
    columns, next_columns, column_shares = _values(wide, width)
    resized = np.empty((height, width, 3), np.float32) if out is None else out
    for start in range(0, height, _ROWS):
        strip = slice(start, min(start + _ROWS, height))
        picked, above, below = _source_rows(image, rows[strip], next_rows[strip])
        if wide == width:
            half = picked.astype(np.float32)
        else:
            half = _blend(
                np.take(picked, columns, axis=1).astype(np.float32),
                np.take(picked, next_columns, axis=1).astype(np.float32),
                column_shares,
            )
        full = _blend(np.take(half, above, axis=0), np.take(half, below, axis=0), row_shares[strip, None])
        if image.dtype == np.uint8:
            full *= np.float32(1 / 255)
        resized[strip] = full.reshape(-1, width, 3)
    return resized


def to_input(
    image: NDArray[np.generic], input_size: tuple[int, int], resize: str
) -> tuple[NDArray[np.float32], Geometry]:
    """Return the network input (input height, input width, 3), float32 0..1, and the image's geometry in it.

    `image` (h, w, 3) is uint8 RGB, or float in 0..1; `input_size` is (height, width); `resize` is
    'letterbox' (Darknet's `letterbox_image`, 0.5 around the image) or 'stretch'.
    """
    geometry = Geometry.fit(image.shape[1], image.shape[0], input_size, resize)
    width, height = geometry.pasted_width, geometry.pasted_height
    top, left = geometry.pasted_top, geometry.pasted_left
    whole = np.empty((*input_size, 3), np.float32)
    for around in (whole[:top], whole[top + height :], whole[:, :left], whole[:, left + width :]):
        around.fill(FILL)
    resize_darknet(image, width, height, whole[top : top + height, left : left + width])
    return whole, geometry


@lru_cache(maxsize=256)
def _samples(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return, for each of `target` positions, the pixel before, the pixel after, and the latter's weight."""
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


@lru_cache(maxsize=256)
def _values(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return `_samples` for the single values of a row of RGB pixels."""
    before, after, shares = _samples(source, target)
    spread = [(3 * pixels[:, None] + np.arange(3)).ravel() for pixels in (before, after)]
    return spread[0], spread[1], np.repeat(shares, 3)


def _source_rows(
    image: NDArray[np.generic], rows: NDArray[np.intp], next_rows: NDArray[np.intp]
) -> tuple[NDArray[np.generic], NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of `image` that two lists need, (n, 3 w), and both lists as indices into them."""
    count, first, last = len(rows), int(rows[0]), int(next_rows[-1])
    if last - first < 2 * count:
        return image[first : last + 1].reshape(last + 1 - first, -1), rows - first, next_rows - first
    picked = np.take(image, np.concatenate([rows, next_rows]), axis=0)
    return picked.reshape(2 * count, -1), np.arange(count), np.arange(count, 2 * count)


def _blend(
    first: NDArray[np.float32], second: NDArray[np.float32], shares: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Interpolate from `first` to `second` by `shares`; both are overwritten."""
    second -= first
    second *= shares
    first += second
    return first
