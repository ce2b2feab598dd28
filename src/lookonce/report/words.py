"""Number and list formatting for the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

TIMES = "\N{MULTIPLICATION SIGN}"
UNKNOWN = "\N{EN DASH}"


def decimal(value: float | None, digits: int = 3) -> str:
    """Format with fixed decimals, such as 0.588; a dash if unknown or not finite."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Format a fraction as 59 %; a dash if unknown or not finite."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{100 * value:.0f} %"


def count(number: int, one: str, many: str | None = None) -> str:
    """Format a number with its noun: 1 image, 2,200 images."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Format as 8.2 s, 1 min 58 s or 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600:,} h {rounded % 3600 // 60} min"


def clock(seconds: float) -> str:
    """Format as 0:01:58, for columns of times."""
    rounded = round(seconds)
    return f"{rounded // 3600}:{rounded % 3600 // 60:02}:{rounded % 60:02}"


def listed(words: Sequence[str], most: int = 8) -> str:
    """Join as a, b and c, with the number of further words after `most`."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most:,} more"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"
