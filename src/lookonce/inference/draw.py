"""Draw detections on a copy of their image."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lookonce.core.colours import RGB, colour_of, ink_on
from lookonce.core.detections import Detections

_DARK_EDGE, _LIGHT_EDGE = (20, 20, 20), (235, 235, 235)
_SMALLEST_FONT = 9

_Rectangle = tuple[int, int, int, int]


def draw(
    image: NDArray[np.uint8], detections: Detections, tracks: NDArray[np.int64] | None = None
) -> NDArray[np.uint8]:
    """Return a copy of `image`, uint8 RGB (h, w, 3), with each detection's box, class and score.

    `tracks` (n,) int64 are the objects' ids in a video, shown as #id; one below 0 is not shown. Lines
    and letters grow with the image; labels stay inside it and, where there is room, off each other.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    line = max(2, round(short / 200))
    canvas = Image.fromarray(np.ascontiguousarray(image))
    pen = ImageDraw.Draw(canvas)
    order = np.argsort(-detections.scores, kind="stable")
    # The best last, so that it lies on top.
    for index in order[::-1]:
        _draw_box(
            pen, detections.boxes[index], colour_of(int(detections.classes[index])), line, (width, height)
        )
    placed: list[_Rectangle] = []
    for index in order:
        label = int(detections.classes[index])
        name = " ".join(detections.names[label].split())
        if tracks is not None and tracks[index] >= 0:
            name = f"{name} #{tracks[index]}"
        text = f"{name} {detections.scores[index]:.2f}"
        font_px = max(_SMALLEST_FONT + 2, round(short / 32))
        text, font = _fit(text, font_px, width)
        left, _, right, _ = font.getbbox(text, anchor="ls")
        pad = max(2, round(font.size / 5))
        # A height from the font and not from the letters: all labels are equally high.
        ascent, descent = font.getmetrics()
        chip = _place(
            detections.boxes[index],
            (round(right - left) + 2 * pad, ascent + descent + pad),
            line,
            (width, height),
            placed,
        )
        placed.append(chip)
        colour = colour_of(label)
        pen.rectangle((chip[0], chip[1], chip[2] - 1, chip[3] - 1), fill=colour)
        pen.text((chip[0] + pad - left, chip[1] + pad // 2 + ascent), text, ink_on(colour), font, anchor="ls")
    return np.asarray(canvas)


def _draw_box(
    pen: ImageDraw.ImageDraw,
    box: NDArray[np.float32],
    colour: RGB,
    line: int,
    size: tuple[int, int],
) -> None:
    left, top, right, bottom = (round(float(value)) for value in box)
    right, bottom = max(left, min(right, size[0] - 1)), max(top, min(bottom, size[1] - 1))
    # A hair line of the other lightness on both sides keeps the colour visible on any ground.
    edge = _DARK_EDGE if ink_on(colour) == (0, 0, 0) else _LIGHT_EDGE
    pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=edge)
    inner = (left + line, top + line, right - line, bottom - line)
    if inner[0] < inner[2] and inner[1] < inner[3]:
        pen.rectangle(inner, outline=edge)
    pen.rectangle((left, top, right, bottom), outline=colour, width=line)


def _place(
    box: NDArray[np.float32],
    chip: tuple[int, int],
    line: int,
    size: tuple[int, int],
    placed: list[_Rectangle],
) -> _Rectangle:
    """Return the first free place for a label: above the box, inside it, or below."""
    left, top, right, bottom = (round(float(value)) for value in box)
    wide, high = chip
    places = [
        (left, top - high),
        (left, top),
        (right - wide, top - high),
        (right - wide, top),
        (left, bottom),
        (left, bottom - high - line),
        (left, top + high),
    ]
    best: tuple[int, _Rectangle] | None = None
    for rank, (x, y) in enumerate(places):
        if rank in (0, 2) and y < 0:
            continue
        x, y = max(0, min(x, size[0] - wide)), max(0, min(y, size[1] - high))
        rectangle = (x, y, x + wide, y + high)
        covered = sum(_common_area(rectangle, other) for other in placed)
        if best is None or covered < best[0]:
            best = (covered, rectangle)
        if covered == 0:
            break
    assert best is not None
    return best[1]


def _common_area(first: _Rectangle, second: _Rectangle) -> int:
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    return max(0, wide) * max(0, high)


def _fit(text: str, font_px: int, width: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return the text and font that fit in `width` pixels: a smaller font first, then fewer letters."""
    font = _font(font_px)
    while font.getlength(text) + font_px > width and font_px > _SMALLEST_FONT:
        font_px -= 1
        font = _font(font_px)
    name, _, score = text.rpartition(" ")
    while font.getlength(text) + font_px > width and len(name) > 1:
        name = name[:-1]
        text = f"{name}… {score}"
    return text, font


@lru_cache(maxsize=64)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    # Found, not imported: loading matplotlib takes longer than drawing a hundred images.
    found = find_spec("matplotlib")
    assert found is not None
    assert found.origin is not None
    file = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), size_px)
