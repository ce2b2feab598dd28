"""Argument types that several commands share, for argparse's `type=`."""

from __future__ import annotations

import argparse


def size_argument(text: str) -> int | tuple[int, int]:
    """Parse an input size, `416` or `HEIGHTxWIDTH`."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is neither N nor HEIGHTxWIDTH, such as 416 or 320x416")
    numbers = [int(part) for part in parts]
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
