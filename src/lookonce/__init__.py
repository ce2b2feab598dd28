"""From labelled images to an object detector: Darknet's YOLO family in Keras 3."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lookonce._version import __version__

if TYPE_CHECKING:
    from lookonce.core.detections import Detections
    from lookonce.export import export_onnx
    from lookonce.inference import Detector
    from lookonce.labels import Dataset
    from lookonce.training.train import evaluate, train


__all__ = ["Dataset", "Detections", "Detector", "__version__", "evaluate", "export_onnx", "train"]

# Loaded on first use, so that `import lookonce` and `lookonce --help` stay instant.
_HOMES = {
    "Dataset": "lookonce.labels",
    "Detections": "lookonce.core.detections",
    "Detector": "lookonce.inference",
    "evaluate": "lookonce.training.train",
    "export_onnx": "lookonce.export",
    "train": "lookonce.training.train",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'lookonce' has no attribute {name!r}")
