"""Scoring script of a batch deployment: a row for each image, as `lookonce detect --json` writes them.

Name this file as the deployment's scoring script; it needs lookonce beside it or installed. The model is what
`find_model` finds. LOOKONCE_CONF and LOOKONCE_IOU are the thresholds. `filename` is the path that the image
has on the node; of one that can't be read the row has an `error` and no boxes.
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
    """Load the model, once for each process. Raises LookonceError."""
    global _detector
    from lookonce.inference import Detector
    from lookonce.serving.server.model_file import find_model

    conf, iou = (float(os.environ.get(f"LOOKONCE_{name}") or default) for name, default in _DEFAULTS)
    _detector = Detector(find_model(None), conf=conf, iou=iou)


def run(mini_batch: list[str]) -> list[str]:
    """One JSON text for each file: as many rows as files, or the job counts the difference as failures."""
    from lookonce.io.images import ImageError

    assert _detector is not None
    rows = []
    for seen in _detector.look_through([Path(path) for path in mini_batch]):
        name = seen.source.as_posix()
        if isinstance(seen.answer, ImageError):
            rows.append({"filename": name, "error": str(seen.answer)})
        else:
            rows.append(seen.answer.to_dict(name))
    return [json.dumps(row) for row in rows]
