"""One frame of a video, and PyAV, which reads and writes them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from lookonce.errors import LookonceError

Pixels = NDArray[np.uint8]


class VideoError(LookonceError):
    """A video or stream cannot be opened, read or written; the message names it and the fix."""


@dataclass(frozen=True)
class Frame:
    """An image with its place in time.

    `image` uint8 RGB (h, w, 3), upright; `number` counts from 0 in the source, frames left out included;
    `time` is in seconds from the source's start, exact, so that a written file keeps it to the tick.
    """

    image: Pixels
    number: int
    time: Fraction


def pyav() -> ModuleType:
    """PyAV, FFmpeg's libraries in Python. Raises VideoError where it isn't installed."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise VideoError("video needs PyAV, which isn't installed: pip install 'lookonce[video]'") from error
