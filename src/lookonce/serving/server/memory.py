"""Keeping a long-lived process from growing: what glibc's malloc holds of large, short-lived blocks."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Above a network's input, so that the blocks of every request stay in the heap; below a model's weights and
# large images, which then go back to the system at once. Unset, glibc raises it to 32 MiB by and by, and
# each reload takes another 20 MiB that no reload gives back (seen with yolov3-tiny).
_LARGE_BYTES = 4 * 2**20


def keep_level() -> None:
    """Say so to malloc, before the first model is loaded; nothing where there is no glibc."""
    if (libc := _glibc()) is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)


def give_back() -> None:
    """Return what is free to the system, after a model has gone; milliseconds."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
