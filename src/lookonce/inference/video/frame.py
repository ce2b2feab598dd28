"""The frame of a video, and access to PyAV."""

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
    """One frame of a video.

    Args:
        image: uint8 RGB (h, w, 3), upright.
        number: index in the source from 0, counting skipped frames.
        time: seconds from the start of the source, exact, so that a written file keeps every timestamp.
    """

    image: Pixels
    number: int
    time: Fraction


def pyav() -> ModuleType:
    """Import PyAV, the Python binding of FFmpeg. Raises VideoError if it is not installed."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise VideoError(
            "video requires PyAV, which is not installed: pip install 'lookonce[video]'"
        ) from error
