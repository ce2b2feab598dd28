"""What a run over a video counted and how long each step took."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from lookonce.core.detections import Detections

Item = TypeVar("Item")

STAGES = ("read", "detect", "track", "draw", "write", "show")


@dataclass
class Tally:
    """`frames` done in `seconds`; seconds by stage; boxes by class, and most of a class in one frame.

    `objects` counts different objects by class, where they were tracked. Steps run at the same time, so the
    slowest one, and not their sum, sets the pace.
    """

    frames: int = 0
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    boxes: Counter[str] = field(default_factory=Counter)
    most_at_once: dict[str, int] = field(default_factory=dict)
    objects: Counter[str] | None = None
    skipped: int = 0
    broken: int = 0
    drops: int = 0
    truncated: bool = False

    @property
    def fps(self) -> float:
        """Frames a second from the first read to the last write."""
        return self.frames / self.seconds if self.seconds else 0.0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the block's seconds to a stage. Each stage belongs to one thread."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stages[stage] = self.stages.get(stage, 0.0) + time.perf_counter() - started

    def timing(self, stage: str, items: Iterable[Item]) -> Iterator[Item]:
        """`items`, the making of each counted to a stage."""
        remaining = iter(items)
        while True:
            with self.timed(stage):
                item = next(remaining, None)
            if item is None:
                return
            yield item

    def count(self, found: Detections) -> None:
        """Take one frame's detections in."""
        self.frames += 1
        for name, number in Counter(found.names[label] for label in found.classes).items():
            self.boxes[name] += number
            self.most_at_once[name] = max(number, self.most_at_once.get(name, 0))
