"""Numbers as people write them."""

from __future__ import annotations

import math
from collections.abc import Sequence

TIMES = "\N{MULTIPLICATION SIGN}"
UNKNOWN = "\N{EN DASH}"


def figure(value: float | None, digits: int = 3) -> str:
    """0.588; a dash for what isn't known."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """59 %; a dash for what isn't known."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{100 * value:.0f} %"


def count(number: int, one: str, many: str | None = None) -> str:
    """1 image, 2,200 images."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """8.2 s, 1 min 58 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def clock(seconds: float) -> str:
    """0:01:58, so that columns of times line up."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"


def listed(words: Sequence[str], most: int = 8) -> str:
    """a, b and c; of many the first, and how many more."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most:,} more"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"
