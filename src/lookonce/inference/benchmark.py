"""Measure the seconds of each stage of detection, engines side by side.

Each engine runs in a process of its own, and they take turns: idle threads of one runtime spin for a
while and slow the next, and a machine that grows warm or busy must not fall on one engine alone.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from lookonce.errors import LookonceError
from lookonce.inference.detector import Detector
from lookonce.inference.draw import draw
from lookonce.io.images import read_image
from lookonce.io.resize import to_input

STAGES = ("read", "preprocess", "infer", "decode+NMS", "draw")
# Long enough for the threads of the engine before to fall asleep.
_PAUSE_SECONDS = 0.2
_BLOCK_SECONDS = 1.0
_WARM_UPS = 3

Seconds = dict[str, list[float]]


@dataclass(frozen=True)
class Measured:
    """One engine's seconds: of each stage, per image, one value a batch; `opening` covers MODEL to ready.

    `name` is the engine that ran; `engine` the one requested; `objects` were found in the image.
    """

    engine: str
    name: str
    opening: float
    objects: int
    batch: int
    seconds: Seconds = field(default_factory=lambda: {stage: [] for stage in STAGES})

    @property
    def totals(self) -> list[float]:
        """Seconds per image for all stages, one value a batch."""
        return [sum(stages) for stages in zip(*self.seconds.values(), strict=True)]

    @property
    def images_per_second(self) -> float:
        """One stage after the other, as at the median; `lookonce detect` overlaps them."""
        return 1 / float(np.median(self.totals))

    def to_json(self) -> dict[str, Any]:
        """Milliseconds per image and stage, and what they were measured on."""
        rows = {**self.seconds, "all": self.totals}
        return {
            "engine": self.engine,
            "name": self.name,
            "opening_seconds": round(self.opening, 3),
            "batch": self.batch,
            "images": len(self.totals) * self.batch,
            "objects": self.objects,
            "images_per_second": round(self.images_per_second, 2),
            "milliseconds": {stage: percentiles(values) for stage, values in rows.items()},
        }


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 90th and 99th percentile in milliseconds."""
    values = np.percentile(np.asarray(seconds) * 1000, [50, 90, 99])
    return dict(zip(("median", "p90", "p99"), (round(float(value), 4) for value in values), strict=True))


def measure(
    engines: Sequence[str],
    options: dict[str, Any],
    image: Path,
    batch: int = 1,
    seconds: float = 5.0,
    repeats: int | None = None,
) -> list[Measured]:
    """Measure each of `engines` on the image `image`, `batch` at a time, for `seconds` each.

    `repeats` counts batches instead of seconds. `options` are Detector's arguments but `engine`.
    Raises LookonceError.
    """
    read_image(image)
    with _workers(engines, options, image, batch) as workers:
        measured = []
        for engine, worker in zip(engines, workers, strict=True):
            name, opening, objects = _answer(worker)
            measured.append(Measured(engine, name, opening, objects, batch))
        left = {engine: float(seconds if repeats is None else repeats) for engine in engines}
        while any(value > 0 for value in left.values()):
            for one, worker in zip(measured, workers, strict=True):
                if left[one.engine] <= 0:
                    continue
                count = None if repeats is None else min(10, int(left[one.engine]))
                time.sleep(_PAUSE_SECONDS)
                worker.send((min(_BLOCK_SECONDS, left[one.engine]), count))
                took, block = _answer(worker)
                left[one.engine] -= took if count is None else count
                for stage, values in block.items():
                    one.seconds[stage].extend(values)
    return measured


@contextmanager
def _workers(
    engines: Sequence[str], options: dict[str, Any], image: Path, batch: int
) -> Iterator[list[Connection]]:
    # Spawned, not forked: a runtime's threads don't survive a fork.
    context = multiprocessing.get_context("spawn")
    workers, pipes = [], []
    try:
        for engine in engines:
            ours, theirs = context.Pipe()
            pipes.append(ours)
            arguments = (theirs, {**options, "engine": engine}, image, batch)
            worker = context.Process(target=_work, args=arguments, daemon=True)
            worker.start()
            workers.append(worker)
            theirs.close()
            # One after the other: opening is measured too.
            ours.poll(None)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for worker in workers:
            worker.join(timeout=5)
            worker.kill()


def _answer(worker: Connection) -> Any:
    try:
        answer = worker.recv()
    except EOFError as error:
        raise LookonceError(
            "an engine's process died; run the engines one by one to see which, and see its own message."
        ) from error
    if isinstance(answer, LookonceError):
        raise answer
    return answer


def _work(parent: Connection, options: dict[str, Any], image: Path, batch: int) -> None:
    """Run in a child process: open the model, send name, seconds and objects, then measure a block per request."""
    try:
        begin = time.perf_counter()
        detector = Detector(**options)
        detector.warm_up(batch)
        opening = time.perf_counter() - begin
        objects = len(detector.detect(image))
        for _ in range(_WARM_UPS):
            one_batch(detector, image, batch)
        parent.send((detector.engine.name, opening, objects))
        while True:
            seconds, count = parent.recv()
            begin = time.perf_counter()
            block: Seconds = {stage: [] for stage in STAGES}
            done = 0
            while done < count if count is not None else time.perf_counter() - begin < seconds:
                for stage, value in one_batch(detector, image, batch).items():
                    block[stage].append(value)
                done += 1
            parent.send((time.perf_counter() - begin, block))
    except LookonceError as error:
        parent.send(error)
    except (EOFError, KeyboardInterrupt):
        # The parent has what it wanted, or was stopped and says so itself.
        return


def one_batch(detector: Detector, image: Path, batch: int) -> dict[str, float]:
    """Detect and draw `image`, `batch` times at once: seconds per image of each of STAGES."""
    clock = time.perf_counter
    marks = [clock()]

    def lap(work: Callable[[], Any]) -> Any:
        result = work()
        marks.append(clock())
        return result

    images = lap(lambda: [read_image(image) for _ in range(batch)])
    prepared = lap(
        lambda: [to_input(pixels, detector.card.input_size, detector.card.resize) for pixels in images]
    )
    outputs = lap(lambda: detector.infer(np.stack([pixels for pixels, _ in prepared])))
    found = lap(lambda: detector.interpret(outputs, [geometry for _, geometry in prepared]))
    lap(lambda: [draw(pixels, one) for pixels, one in zip(images, found, strict=True)])
    return dict(zip(STAGES, (np.diff(marks) / batch).tolist(), strict=True))
