"""The model that a service runs, with its version; memory limits for reloading it."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from lookonce.core.model_card import ModelCard
from lookonce.inference import Detector
from lookonce.io.hashing import file_sha256
from lookonce.io.parallel import available_cores
from lookonce.serving.server.settings import Settings


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One loaded and warmed-up model.

    `detector` runs `lanes` batches in parallel. `single_image` uses all cores for one image, for when a
    single client is waiting; with one lane it is the same object. `version` is 12 hex digits of the SHA-256
    of the model's files.
    """

    detector: Detector
    single_image: Detector
    version: str
    lanes: int

    @property
    def card(self) -> ModelCard:
        """The model card stored in the model file."""
        return self.detector.card

    @property
    def name(self) -> str:
        """The model's name."""
        return self.card.name

    def to_json(self, settings: Settings) -> dict[str, object]:
        """Return the public description of the model, for `GET /model`."""
        card = self.card
        return {
            "name": card.name,
            "version": self.version,
            "classes": list(card.classes),
            "input_size": list(card.input_size),
            "resize": card.resize,
            "metrics": card.metrics,
            "trained_on": card.trained_on,
            "created": card.created,
            "lookonce": card.lookonce,
            "engine": self.detector.engine.name,
            "conf": settings.conf,
            "iou": settings.iou,
            "nms_inside": self.detector.nms_inside,
            "limits": {
                "body_bytes": settings.max_body_bytes,
                "pixels": settings.max_pixels,
                "images": settings.max_images,
                "detections": settings.max_detections,
            },
        }


def version_of(settings: Settings) -> str:
    """Return the version of the files as they are now. Raises LookonceError."""
    digest = hashlib.sha256()
    for name in (settings.model_path, settings.weights, settings.classes):
        if name is None:
            continue
        digest.update(bytes.fromhex(file_sha256(Path(name))))
    return digest.hexdigest()[:12]


def load_model(settings: Settings) -> ServedModel:
    """Load and warm up the model. Raises LookonceError."""
    version = version_of(settings)
    lanes = settings.lanes or _lanes(settings)
    detector = _open(settings, settings.threads, lanes)
    return ServedModel(detector, _open(settings, lanes, 1) if lanes > 1 else detector, version, lanes)


def _open(settings: Settings, threads: int, lanes: int) -> Detector:
    detector = Detector(
        settings.model_path,
        weights=settings.weights,
        classes=settings.classes,
        resize=settings.resize,
        conf=settings.conf,
        iou=settings.iou,
        engine=settings.engine,
        device=settings.device,
        threads=threads,
        lanes=lanes,
    )
    detector.warm_up()
    return detector


def _lanes(settings: Settings) -> int:
    """Return one lane per core for ONNX Runtime on the CPU; other engines run one batch at a time."""
    on_processor = settings.engine in ("auto", "onnx") and settings.device in ("auto", "cpu")
    return 1 if settings.threads or not on_processor else available_cores()


def without_paths(message: str, settings: Settings) -> str:
    """Replace paths by file names in an error message, for replies and logs."""
    for name in filter(None, (settings.model_path, settings.weights, settings.classes)):
        message = message.replace(str(name), Path(name).name)
    return message


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Larger than a network's input, so that blocks of every request stay in the heap; smaller than weights and
# large images, which are returned to the system at once. By default glibc raises it up to 32 MiB,
# and each reload leaks about 20 MiB (measured with yolov3-tiny).
_LARGE_BYTES = 4 * 2**20


def limit_heap_growth() -> None:
    """Fix malloc's thresholds before the first model is loaded; no effect without glibc."""
    if (libc := _glibc()) is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)


def release_free_memory() -> None:
    """Return free heap memory to the system after a model was replaced; takes milliseconds."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
