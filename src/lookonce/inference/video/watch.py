"""A video through a detector: read, detect, track, draw, write and show, each in a thread of its own."""

from __future__ import annotations

import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
from numpy.typing import NDArray

from lookonce.core.detections import Detections
from lookonce.inference import draw
from lookonce.inference.video.ahead import ahead
from lookonce.inference.video.frame import Frame, Pixels
from lookonce.inference.video.live import LiveSource
from lookonce.inference.video.reading import VideoFile
from lookonce.inference.video.tally import Tally
from lookonce.inference.video.tracker import UNTRACKED, Tracker
from lookonce.inference.video.window import Window
from lookonce.inference.video.writing import VideoWriter
from lookonce.io.atomic import atomic_file

if TYPE_CHECKING:
    from lookonce.inference import Detector

Source = VideoFile | LiveSource


@dataclass(frozen=True)
class Watched:
    """A frame, what was found in it, and, where objects are tracked, the id of each."""

    frame: Frame
    found: Detections
    tracks: NDArray[np.int64] | None


def watch(
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
    """Detect in every frame of a file, or in the newest of a live source, until it ends.

    `output` is drawn video (.mp4, .mov), `json_file` one JSON object a line; both appear when all is done.
    Images of a file go through the network `batch` at a time; a live source's one by one. `progress` is
    called after each frame. Raises LookonceError.
    """
    tally = Tally()
    started = time.perf_counter()
    drawing = output is not None or show
    batch = 1 if source.live else batch
    with ExitStack() as stack:
        # The window first: without a display nothing else need begin.
        window = stack.enter_context(Window(f"lookonce: {source.name}")) if show else None
        writer = stack.enter_context(_writer(source, output)) if output else None
        lines = stack.enter_context(_text(json_file)) if json_file else None
        frames = tally.timing("read", itertools.islice(source, max_frames))
        seen = _detected(detector, ahead(frames, 2 * batch if not source.live else 1), batch, tally)
        done = _drawn(ahead(_tracked(seen, tracker, tally), batch), drawing, tally)
        for one, drawn in stack.enter_context(closing(ahead(done, 2))):
            if lines is not None:
                lines.write(json.dumps(json_of(one, source.name), ensure_ascii=False) + "\n")
            if writer is not None:
                with tally.timed("write"):
                    writer.write(replace(one.frame, image=drawn))
            tally.count(one.found)
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


def json_of(seen: Watched, filename: str) -> dict[str, object]:
    """A frame's line: the image's answer with `frame`, `seconds` and, where tracked, each box's `track`."""
    answer = seen.found.to_dict(filename)
    if seen.tracks is not None:
        for box, track in zip(answer["boxes"], seen.tracks.tolist(), strict=True):
            box["track"] = None if track == UNTRACKED else track
    return {
        "filename": answer.pop("filename"),
        "frame": seen.frame.number,
        "seconds": round(float(seen.frame.time), 6),
        **answer,
    }


def _detected(
    detector: Detector, frames: Iterator[Frame], batch: int, tally: Tally
) -> Iterator[tuple[Frame, Detections]]:
    under_way: deque[Frame] = deque()
    waited = 0.0

    def images() -> Iterator[Pixels]:
        nonlocal waited
        while True:
            asked = time.perf_counter()
            frame = next(frames, None)
            waited += time.perf_counter() - asked
            if frame is None:
                return
            under_way.append(frame)
            yield frame.image

    if batch == 1:
        # Reading ahead would hand the network a frame that is no longer the newest.
        for image in images():
            with tally.timed("detect"):
                found = detector.detect(image)
            yield under_way.popleft(), found
        return
    answers = detector.detect_many(images(), batch)
    while True:
        before, started = waited, time.perf_counter()
        answer = next(answers, None)
        spent = time.perf_counter() - started - (waited - before)
        tally.stages["detect"] = tally.stages.get("detect", 0.0) + spent
        if answer is None:
            return
        assert isinstance(answer[1], Detections), "only files, not arrays, can fail to be read"
        yield under_way.popleft(), answer[1]


def _tracked(
    seen: Iterator[tuple[Frame, Detections]], tracker: Tracker | None, tally: Tally
) -> Iterator[Watched]:
    for frame, found in seen:
        tracks = None
        if tracker is not None:
            with tally.timed("track"):
                found, tracks = tracker.update(found)
        yield Watched(frame, found, tracks)


def _drawn(seen: Iterator[Watched], drawing: bool, tally: Tally) -> Iterator[tuple[Watched, Pixels]]:
    for one in seen:
        drawn = one.frame.image
        if drawing:
            with tally.timed("draw"):
                drawn = draw(one.frame.image, one.found, one.tracks)
        yield one, drawn


def _writer(source: Source, output: Path) -> VideoWriter:
    if isinstance(source, LiveSource):
        return VideoWriter(output, source.rate)
    sound = source.source if source.has_audio else None
    return VideoWriter(output, source.rate, source.time_base, source.pixel_aspect, sound)


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as lines:
        yield lines
