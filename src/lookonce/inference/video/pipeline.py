"""Detect in a video: read, detect, track, draw, write and show, overlapped in threads."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from lookonce.core.detections import Detections
from lookonce.inference import draw
from lookonce.inference.video.frame import Frame, Pixels
from lookonce.inference.video.live import LiveSource
from lookonce.inference.video.reading import VideoFile
from lookonce.inference.video.tracker import UNTRACKED, Tracker
from lookonce.inference.video.window import Window
from lookonce.inference.video.writing import VideoWriter
from lookonce.io.atomic import atomic_file
from lookonce.io.parallel import prefetch

if TYPE_CHECKING:
    from lookonce.inference import Detector


Item = TypeVar("Item")

STAGES = ("read", "detect", "track", "draw", "write", "show")


@dataclass
class Tally:
    """Statistics of a run over a video.

    Args:
        frames: processed frames.
        seconds: wall time from the first read to the last write.
        stages: seconds per stage; stages overlap, so the slowest one limits the speed, not their sum.
        boxes: boxes by class.
        most_at_once: the most boxes of a class in one frame.
        objects: distinct objects by class, if they were tracked.
        skipped: frames skipped to keep up with a live source.
        broken: frames that could not be decoded.
        drops: times that the connection to a live source was lost.
        truncated: whether the file ended early.
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
        """Frames per second from the first read to the last write."""
        return self.frames / self.seconds if self.seconds else 0.0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the duration of the block to a stage; use each stage from one thread only."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stages[stage] = self.stages.get(stage, 0.0) + time.perf_counter() - started

    def timing(self, stage: str, items: Iterable[Item]) -> Iterator[Item]:
        """Yield `items`, adding the time to produce each to a stage."""
        remaining = iter(items)
        while True:
            with self.timed(stage):
                item = next(remaining, None)
            if item is None:
                return
            yield item

    def count(self, detections: Detections) -> None:
        """Count one frame and its detections."""
        self.frames += 1
        for name, number in Counter(detections.names[label] for label in detections.classes).items():
            self.boxes[name] += number
            self.most_at_once[name] = max(number, self.most_at_once.get(name, 0))


Source = VideoFile | LiveSource


@dataclass(frozen=True)
class FrameResult:
    """A frame, its detections and, if objects are tracked, the id of each."""

    frame: Frame
    detections: Detections
    tracks: NDArray[np.int64] | None


def detect_video(
    detector: Detector,
    source: Source,
    output: Path | None = None,
    json_file: Path | None = None,
    tracker: Tracker | None = None,
    show: bool = False,
    batch: int = 8,
    max_frames: int | None = None,
    progress: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Detect in every frame of a file, or in the newest frames of a live source, until it ends.

    Args:
        detector: with LOWEST_SCORE as its threshold if there is a tracker.
        source: video file or live source.
        output: annotated video (.mp4, .mov), complete when the function returns.
        json_file: JSON lines, one per frame, complete when the function returns.
        tracker: assigns ids to objects.
        show: show frames in a window.
        batch: frames per network run; 1 for live sources.
        max_frames: stop after this many frames.
        progress: called after each frame.

    Raises:
        LookonceError: the source, the output or the window fails.
    """
    tally = Tally()
    started = time.perf_counter()
    drawing = output is not None or show
    batch = 1 if source.live else batch
    with ExitStack() as stack:
        # The window first: fail early without a display.
        window = stack.enter_context(Window(f"lookonce: {source.name}")) if show else None
        writer = stack.enter_context(_writer(source, output)) if output else None
        lines = stack.enter_context(_text(json_file)) if json_file else None
        frames = tally.timing("read", itertools.islice(source, max_frames))
        detected = _detected(detector, prefetch(frames, 2 * batch if not source.live else 1), batch, tally)
        annotated = _drawn(prefetch(_tracked(detected, tracker, tally), batch), drawing, tally)
        for result, drawn in stack.enter_context(closing(prefetch(annotated, 2))):
            if lines is not None:
                lines.write(json.dumps(json_line(result, source.name), ensure_ascii=False) + "\n")
            if writer is not None:
                with tally.timed("write"):
                    writer.write(replace(result.frame, image=drawn))
            tally.count(result.detections)
            tally.seconds = time.perf_counter() - started
            progress(tally)
            if window is not None:
                with tally.timed("show"):
                    window.show(drawn)
                if window.closed:
                    break
        if writer is not None and (tally.frames == max_frames or (window is not None and window.closed)):
            writer.cut_short = True
    tally.seconds = time.perf_counter() - started
    tally.broken = source.broken
    if isinstance(source, LiveSource):
        tally.skipped, tally.drops = source.skipped, source.drops
    else:
        tally.truncated = source.truncated
    tally.objects = tracker.objects() if tracker else None
    return tally


def json_line(result: FrameResult, filename: str) -> dict[str, object]:
    """Return a frame's JSON: its detections with `frame`, `seconds` and, if tracked, each box's `track`."""
    content = result.detections.to_dict(filename)
    if result.tracks is not None:
        for box, track in zip(content["boxes"], result.tracks.tolist(), strict=True):
            box["track"] = None if track == UNTRACKED else track
    return {
        "filename": content.pop("filename"),
        "frame": result.frame.number,
        "seconds": round(float(result.frame.time), 6),
        **content,
    }


def _detected(
    detector: Detector, frames: Iterator[Frame], batch: int, tally: Tally
) -> Iterator[tuple[Frame, Detections]]:
    in_flight: deque[Frame] = deque()
    waited = 0.0

    def images() -> Iterator[Pixels]:
        nonlocal waited
        while True:
            started = time.perf_counter()
            frame = next(frames, None)
            waited += time.perf_counter() - started
            if frame is None:
                return
            in_flight.append(frame)
            yield frame.image

    if batch == 1:
        # Reading ahead would pass the network a frame that is no longer the newest.
        for image in images():
            with tally.timed("detect"):
                detections = detector.detect(image)
            yield in_flight.popleft(), detections
        return
    results = detector.detect_many(images(), batch)
    while True:
        waited_before, started = waited, time.perf_counter()
        result = next(results, None)
        spent = time.perf_counter() - started - (waited - waited_before)
        tally.stages["detect"] = tally.stages.get("detect", 0.0) + spent
        if result is None:
            return
        assert isinstance(result[1], Detections), "only files can be unreadable, not arrays"
        yield in_flight.popleft(), result[1]


def _tracked(
    frames: Iterator[tuple[Frame, Detections]], tracker: Tracker | None, tally: Tally
) -> Iterator[FrameResult]:
    for frame, detections in frames:
        tracks = None
        if tracker is not None:
            with tally.timed("track"):
                detections, tracks = tracker.update(detections)
        yield FrameResult(frame, detections, tracks)


def _drawn(
    results: Iterator[FrameResult], drawing: bool, tally: Tally
) -> Iterator[tuple[FrameResult, Pixels]]:
    for result in results:
        drawn = result.frame.image
        if drawing:
            with tally.timed("draw"):
                drawn = draw(result.frame.image, result.detections, result.tracks)
        yield result, drawn


def _writer(source: Source, output: Path) -> VideoWriter:
    if isinstance(source, LiveSource):
        return VideoWriter(output, source.rate)
    sound = source.source if source.has_audio else None
    return VideoWriter(output, source.rate, source.time_base, source.pixel_aspect, sound)


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as lines:
        yield lines
