"""Scoring script of a batch deployment: one row per image, as `lookonce detect --json` writes them.

Name this file as the deployment's scoring script; lookonce must be installed or beside it. `find_model` finds
the model; LOOKONCE_CONF and LOOKONCE_IOU set the thresholds. `filename` is the image's path on the node.
The row of an image that cannot be read has an `error` and no boxes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lookonce.inference import Detector

_DEFAULTS = (("CONF", 0.3), ("IOU", 0.45))

_detector: Detector | None = None


def init() -> None:
    """Load the model, once per process. Raises LookonceError."""
    global _detector
    from lookonce.inference import Detector
    from lookonce.serving.server.model_file import find_model

    conf, iou = (float(os.environ.get(f"LOOKONCE_{name}") or default) for name, default in _DEFAULTS)
    _detector = Detector(find_model(None), conf=conf, iou=iou)


def run(mini_batch: list[str]) -> list[str]:
    """Return one JSON row per file; the job counts missing rows as failures."""
    from lookonce.io.images import ImageError

    assert _detector is not None
    rows = []
    for result in _detector.stream([Path(path) for path in mini_batch]):
        name = result.source.as_posix()
        if isinstance(result.detections, ImageError):
            rows.append({"filename": name, "error": str(result.detections)})
        else:
            rows.append(result.detections.to_dict(name))
    return [json.dumps(row) for row in rows]
