"""Settings of a service."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """The model and the limits of one service.

    Args:
        conf: minimum score of requests that set none.
        iou: NMS threshold of requests that set none.
        threads: threads of each lane; 0 decides by the machine.
        lanes: batches that run in parallel; 0 decides by the machine.
        batch_wait_seconds: how long a batch waits for images that are still being decoded.
        max_queue: images in flight, from arrival to response.
        deadline_seconds: time limit of a request, from arrival to response.
        body_seconds: time limit for a request body to arrive.
        max_buffered_bytes: limit of all request bodies together.
        max_detections: detections returned per image, best first.
        key: key that clients must send; None: no key.
        label_studio: origins that images of Label Studio's tasks may be fetched from; the first is Label
            Studio's own and receives `label_studio_key`.
    """

    model_path: str
    weights: str | None = None
    classes: str | None = None
    resize: str | None = None
    conf: float = 0.3
    iou: float = 0.45
    engine: str = "auto"
    device: str = "auto"
    threads: int = 0
    lanes: int = 0
    max_batch: int = 8
    batch_wait_seconds: float = 0.003
    max_queue: int = 128
    deadline_seconds: float = 30.0
    body_seconds: float = 30.0
    max_body_bytes: int = 32 * MIB
    max_buffered_bytes: int = 256 * MIB
    max_pixels: int = 50_000_000
    max_images: int = 32
    max_detections: int = 300
    key: str | None = None
    label_studio: tuple[str, ...] = ()
    label_studio_key: str | None = None

    def __repr__(self) -> str:
        """Omit the keys: this may end up in a log."""
        return f"Settings({self.model_path!r}, key={'set' if self.key else 'none'})"
