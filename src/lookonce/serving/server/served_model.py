"""The model that a service runs, with the version that its answers name."""

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
    """One loaded and warmed model. `version` is 12 hex digits of its files' SHA-256.

    `detector` runs `lanes` batches at once. `alone` has all cores for one image: a lane's single core would
    make the only client wait for longer than it must. It is the same one where there is one lane.
    """

    detector: Detector
    single_image: Detector
    version: str
    lanes: int

    @property
    def card(self) -> ModelCard:
        """What the model file says of itself."""
        return self.detector.card

    @property
    def name(self) -> str:
        """The model's name, as in its card."""
        return self.card.name

    def to_json(self, settings: Settings) -> dict[str, object]:
        """What the page and other clients may know of the model."""
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
    """The version that the files of `settings` would have now. Raises LookonceError."""
    digest = hashlib.sha256()
    for name in (settings.model_path, settings.weights, settings.classes):
        if name is None:
            continue
        digest.update(bytes.fromhex(file_sha256(Path(name))))
    return digest.hexdigest()[:12]


def load_model(settings: Settings) -> ServedModel:
    """Open the model, run it once, and tell its version. Raises LookonceError."""
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
    """One batch a core where ONNX Runtime runs on the processor; other engines take one batch at a time."""
    on_processor = settings.engine in ("auto", "onnx") and settings.device in ("auto", "cpu")
    return 1 if settings.threads or not on_processor else available_cores()


def shown(message: str, settings: Settings) -> str:
    """An error's message with file names in place of paths, for answers and logs."""
    for name in filter(None, (settings.model_path, settings.weights, settings.classes)):
        message = message.replace(str(name), Path(name).name)
    return message


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Above a network's input, so that the blocks of every request stay in the heap; below a model's weights and
# large images, which then go back to the system at once. Unset, glibc raises it to 32 MiB by and by, and
# each reload takes another 20 MiB that no reload gives back (seen with yolov3-tiny).
_LARGE_BYTES = 4 * 2**20


def keep_level() -> None:
    """Say so to malloc, before the first model is loaded; nothing where there is no glibc."""
    if (libc := _glibc()) is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)


def give_back() -> None:
    """Return what is free to the system, after a model has gone; milliseconds."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
