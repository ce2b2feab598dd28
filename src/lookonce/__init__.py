"""From labelled images to an object detector: Darknet's YOLO family in Keras 3."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lookonce._version import __version__

if TYPE_CHECKING:
    from lookonce.core.detections import Detections
    from lookonce.errors import LookonceError
    from lookonce.export import (
        export_darknet,
        export_litert,
        export_model,
        export_onnx,
        export_openvino,
        quantize,
    )
    from lookonce.inference import Detector, draw
    from lookonce.inference.evaluate import evaluate
    from lookonce.io.images import ImageError
    from lookonce.labels import Dataset, check
    from lookonce.models.open import open_model
    from lookonce.training.data.augment import Augmentation
    from lookonce.training.recipe import Recipe
    from lookonce.training.train import train

__all__ = [
    "Augmentation",
    "Dataset",
    "Detections",
    "Detector",
    "ImageError",
    "LookonceError",
    "Recipe",
    "__version__",
    "check",
    "draw",
    "evaluate",
    "export_darknet",
    "export_litert",
    "export_model",
    "export_onnx",
    "export_openvino",
    "open_model",
    "quantize",
    "train",
]

# Loaded on first use, so that `import lookonce` and `lookonce --help` stay instant.
_HOMES = {
    "Augmentation": "lookonce.training.data.augment",
    "Dataset": "lookonce.labels",
    "Detections": "lookonce.core.detections",
    "Detector": "lookonce.inference",
    "ImageError": "lookonce.io.images",
    "LookonceError": "lookonce.errors",
    "Recipe": "lookonce.training.recipe",
    "check": "lookonce.labels",
    "draw": "lookonce.inference.draw",
    "evaluate": "lookonce.inference.evaluate",
    "export_darknet": "lookonce.export",
    "export_litert": "lookonce.export",
    "export_model": "lookonce.export",
    "export_onnx": "lookonce.export",
    "export_openvino": "lookonce.export",
    "open_model": "lookonce.models.open",
    "quantize": "lookonce.export",
    "train": "lookonce.training.train",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'lookonce' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
