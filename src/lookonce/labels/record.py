"""One labelled image, as its label file describes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookonce.errors import LookonceError


class LabelError(LookonceError):
    """A label file, class list or dataset folder is at fault; the message names file, place and fix."""


@dataclass(frozen=True)
class Record:
    """An image and its boxes, unchecked: just what the label file says.

    Args:
        name: the image's file name.
        image: where the image is, or should be: it may be missing.
        annotation: the label file; None for an image that has none.
        size: (width, height) in pixels according to the label file.
        boxes: float32 (n, 4), xyxy in original pixels.
        labels: n class names.
        difficult: bool (n,), Pascal VOC's "difficult" flag.
    """

    name: str
    image: Path
    annotation: Path | None
    size: tuple[int, int] | None
    boxes: NDArray[np.float32]
    labels: tuple[str, ...]
    difficult: NDArray[np.bool_]
