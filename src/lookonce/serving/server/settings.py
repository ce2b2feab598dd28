"""What a running service is told at its start."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """The model and the bounds of one service.

    `lanes` batches run at once, each on `threads` threads; 0 chooses by the machine. `batch_wait_seconds` is
    how long a batch waits for images that are still being decoded. A request holds one place of `max_queue`
    for each of its images, from its arrival to its answer, and has `deadline_seconds` for that.
    Of one image the best `max_detections` are answered. `body_seconds` is what its body may take to arrive;
    `max_buffered_bytes` bounds all bodies together. Images that Label Studio's tasks name are fetched from
    the addresses in `label_studio` and nowhere else; the first is its own, and gets `label_studio_key`.
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
        """Without the keys: this may end up in a log."""
        return f"Settings({self.model_path!r}, key={'set' if self.key else 'none'})"
