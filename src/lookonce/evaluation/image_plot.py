"""Image grids with ground truth and detections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from lookonce.core.colours import colour_of, ink_on
from lookonce.core.detections import Detections
from lookonce.evaluation.matching import GroundTruth
from lookonce.io.atomic import atomic_file

Tile = tuple[NDArray[np.uint8], GroundTruth, Detections, str]

_COLUMNS = 3
_TILE_PX = 560


def plot_images(tiles: Sequence[Tile], path: Path, confidence: float = 0.3) -> None:
    """Plot tiles of (uint8 RGB image, ground truth, detections, title); detections above `confidence`."""
    columns = max(1, min(_COLUMNS, len(tiles)))
    rows = max(1, -(-len(tiles) // columns))
    figure = Figure(figsize=(4.4 * columns, 3.7 * rows + 0.5), layout="constrained")
    for axes, tile in zip(figure.subplots(rows, columns, squeeze=False).flat, tiles, strict=False):
        _draw_tile(axes, *tile, confidence)
    for axes in figure.axes:
        axes.set_axis_off()
    handles = [
        Line2D(
            [],
            [],
            color="white",
            linestyle="--",
            linewidth=2,
            path_effects=[withStroke(linewidth=4, foreground="0.15")],
        ),
        Line2D([], [], color=[value / 255 for value in colour_of(0)], linewidth=2.5),
    ]
    labels = ["labelled", f"detected (colour by class, above {confidence:g})"]
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, handlelength=3)
    with atomic_file(Path(path)) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw_tile(
    axes: Any, image: NDArray[np.uint8], truth: GroundTruth, found: Detections, title: str, confidence: float
) -> None:
    scale = min(1.0, _TILE_PX / max(image.shape[:2]))
    if scale < 1:
        image = np.asarray(
            cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )
    axes.imshow(image)
    axes.set_title(title, fontsize=10)
    dark = [withStroke(linewidth=3.2, foreground="0.15")]
    for box in np.asarray(truth.boxes) * scale:
        axes.add_patch(
            _rectangle(box, edgecolor="white", linestyle=(0, (4, 3)), linewidth=1.7, path_effects=dark)
        )
    sure = np.nonzero(found.scores > confidence)[0]
    for index in sure[np.argsort(found.scores[sure])]:
        box, label = found.boxes[index] * scale, int(found.classes[index])
        colour = [value / 255 for value in colour_of(label)]
        axes.add_patch(_rectangle(box, edgecolor=colour, linewidth=2))
        # The label extends away from the nearer edge and stays in the image.
        right = box[0] > image.shape[1] * 0.7
        axes.annotate(
            f"{found.names[label]} {found.scores[index]:.2f}",
            (box[2] if right else box[0], max(float(box[1]), 12.0)),
            (-2 if right else 2, 2),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=7.5,
            color=[value / 255 for value in ink_on(colour_of(label))],
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.5},
            annotation_clip=True,
        )


def _rectangle(box: NDArray[np.float32], **style: Any) -> Rectangle:
    left, top, right, bottom = (float(value) for value in box)
    return Rectangle((left, top), right - left, bottom - top, fill=False, **style)
