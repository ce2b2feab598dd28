"""What a detector says of one image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detections:
    """Boxes found in one image, best score first.

    `boxes` (n, 4) float32 xyxy in original pixels, `scores` (n,) float32 in 0..1, `classes` (n,) int64
    indexing `names`, `image_size` (width, height) in pixels.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    image_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.scores)

    def best(self, most: int) -> Detections:
        """The `most` with the highest scores."""
        if len(self) <= most:
            return self
        return replace(self, boxes=self.boxes[:most], scores=self.scores[:most], classes=self.classes[:most])

    def to_json(self, filename: str) -> dict[str, Any]:
        """The image's answer in the Azure AutoML-for-images form, corners as fractions of the image."""
        width, height = self.image_size
        fractions = self.boxes / np.asarray([width, height, width, height], np.float32)
        corners = ("topX", "topY", "bottomX", "bottomY")
        return {
            "filename": filename,
            "width": width,
            "height": height,
            "boxes": [
                {
                    "label": self.names[label],
                    "score": round(float(score), 6),
                    "box": dict(zip(corners, [round(float(value), 6) for value in box], strict=True)),
                }
                for box, score, label in zip(fractions, self.scores, self.classes, strict=True)
            ],
        }
