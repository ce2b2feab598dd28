"""Image tiles: the image as a JPEG of bounded size, with the boxes as SVG on top."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lookonce.report.markup import Child, Markup, cut, element

# Limit of one JPEG; the quality is reduced until it fits.
_MAX_BYTES = 90_000
LONGEST_PX = 520
_QUALITIES = (84, 72, 58, 42, 25)
_MAX_BOXES = 600
_MAX_LABELS = 16
_MAX_LABEL = 22
# Approximate width of a letter relative to the font size, to keep labels from overlapping.
_LETTER_WIDTH = 0.66


@dataclass(frozen=True)
class Layer:
    """Boxes drawn in one style.

    `kind` is a CSS class of page.css, `boxes` are (n, 4) xyxy in pixels, `labels` are written above the boxes,
    and `colour` overrides the CSS colour.
    """

    kind: str
    boxes: NDArray[np.float32]
    labels: tuple[str, ...] = ()
    colour: str | None = None


def tile(
    image: NDArray[np.uint8], layers: Iterable[Layer], alt: str, *below: Child, longest: int = LONGEST_PX
) -> Markup:
    """Return a figure of a uint8 RGB image (h, w, 3) with layers of boxes, captioned with `below`."""
    scale = min(1.0, longest / max(image.shape[:2]))
    if scale < 1:
        # At least one pixel, for very thin images.
        size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    height, width = image.shape[:2]
    shown = element("img", src=_jpeg(image), alt=alt, width=width, height=height)
    over = element("svg", *_drawn(layers, scale, width), viewBox=f"0 0 {width} {height}", aria_hidden="true")
    return element(
        "figure", element("div", shown, over, class_="shot"), element("figcaption", *below), class_="tile"
    )


def _jpeg(image: NDArray[np.uint8]) -> str:
    for quality in _QUALITIES:
        coded = cv2.imencode(
            ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
        )[1]
        if len(coded) <= _MAX_BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(coded.tobytes()).decode()}"


def _drawn(layers: Iterable[Layer], scale: float, width: int) -> list[Markup]:
    drawn: list[Markup] = []
    layout = _LabelLayout(width)
    for layer in layers:
        boxes = np.asarray(layer.boxes[:_MAX_BOXES], np.float64) * scale
        if not len(boxes):
            continue
        # One path for all boxes keeps the page small.
        path = "".join(
            f"M{left:.1f} {top:.1f}H{right:.1f}V{bottom:.1f}H{left:.1f}z"
            for left, top, right, bottom in boxes
        )
        drawn.append(element("path", d=path, class_=f"box {layer.kind} under"))
        style = f"stroke:{layer.colour}" if layer.colour else None
        drawn.append(element("path", d=path, class_=f"box {layer.kind}", style=style))
        for box, label in zip(boxes, layer.labels, strict=False):
            layout.add(box, label, layer.kind)
    return drawn + layout.elements


class _LabelLayout:
    """Places labels at boxes inside the image without overlap; drops those that do not fit."""

    def __init__(self, width: int) -> None:
        self.width, self.size = width, max(9.0, width / 30)
        self.elements: list[Markup] = []
        self._occupied: list[tuple[float, float, float]] = []

    def add(self, box: NDArray[np.float64], label: str, kind: str) -> None:
        if len(self.elements) == _MAX_LABELS:
            return
        label = cut(label, _MAX_LABEL)
        wide = len(label) * self.size * _LETTER_WIDTH
        left = min(max(float(box[0]), 1), max(1.0, self.width - wide))
        base = max(float(box[1]) - self.size * 0.3, self.size)
        if any(
            left < end and left + wide > start and abs(base - other) < 1.1 * self.size
            for start, end, other in self._occupied
        ):
            return
        self._occupied.append((left, left + wide, base))
        self.elements.append(
            element(
                "text", label, x=f"{left:.1f}", y=f"{base:.1f}", font_size=f"{self.size:.1f}", class_=kind
            )
        )
