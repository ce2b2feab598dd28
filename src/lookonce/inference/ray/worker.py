"""The Ray actor that processes parts, and the count of attempts that stops crash loops."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from lookonce.core.boxes import Geometry
from lookonce.core.detections import Detections
from lookonce.errors import LookonceError
from lookonce.inference import Detector
from lookonce.inference.ray.folders import Folder, error_text
from lookonce.inference.ray.parts import Parts, part_name
from lookonce.io.images import ImageError, decode_image
from lookonce.io.parallel import parallel_map
from lookonce.io.resize import to_input


class Attempts:
    """Count how often parts were started in one run; an actor that outlives crashing workers."""

    def __init__(self, workers: int, retries: int) -> None:
        """Allow each part to lose its worker `retries` times, with `workers` running at a time."""
        # One more start than crashes over parts can need: those are caught by the count of each part.
        self._most_starts = workers * (2 + retries)
        self._most_attempts = 1 + retries
        self._starts = 0
        self._attempts_of: Counter[str] = Counter()

    def start(self) -> bool:
        """Register the start of a worker; return False after too many starts without a finished part."""
        self._starts += 1
        return self._starts <= self._most_starts

    def begin(self, part: str) -> bool:
        """Register the start of a part; return False after too many workers crashed over it."""
        self._attempts_of[part] += 1
        return self._attempts_of[part] <= self._most_attempts

    def end(self, part: str) -> None:
        """Register that a part was written."""
        self._starts = 0
        self._attempts_of.pop(part, None)


def attempts_actor(workers: int, retries: int) -> Any:
    """Start an Attempts actor that every worker can reach; it reserves no CPU."""
    import ray

    # If its machine dies it counts from zero again: the run takes longer, but stays correct.
    remote = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts)
    return remote.remote(workers, retries)


# Object stores have high latency and serve many requests in parallel.
_READERS = 8
_MOST_BYTES = 2**30  # larger than any image; reading stops there
_TRIES = 3
_PAUSE_SECONDS = 0.5
# Clients of stores retry by themselves, for a minute and more.
_TRY_SECONDS = 30.0
# A part with at least this many unreachable images, and half of all, indicates an outage.
_FEW = 8

Prepared = tuple[NDArray[np.float32], Geometry]


@dataclass(frozen=True)
class Job:
    """Parameters of every worker; the images follow part by part."""

    source: Folder
    output: Parts
    conf: float
    iou: float
    device: str
    threads: int
    batch: int


class UnreachableError(ImageError):
    """The store or the disk does not return an image, as opposed to an image that is damaged."""

    def __init__(self, message: str, final: bool) -> None:
        """`final`: retrying is pointless, and no time was spent waiting."""
        super().__init__(message)
        self.final = final


class Worker:
    """Ray actor: opens the model once, then processes part after part."""

    def __init__(self, job: Job, graph: list[Any], attempts: Any) -> None:
        """Open the model; `graph` holds one reference to an ONNX file's content, `attempts` is an actor."""
        self._job = job
        self._attempts = attempts
        self._detector: Detector | None = None
        self._fatal_error = ""
        if not ray.get(attempts.start.remote()):
            self._fatal_error = f"workers keep crashing before finishing a part. {_fix(job)}"
            return
        # Raised here, an error would only restart the actor; reported with the first part, it stops the run.
        try:
            with tempfile.TemporaryDirectory() as folder:
                model = Path(folder) / "model.onnx"
                model.write_bytes(ray.get(graph[0]))
                self._detector = Detector(
                    model, conf=job.conf, iou=job.iou, device=job.device, threads=job.threads
                )
        except LookonceError as error:
            self._fatal_error = str(error)

    def __call__(self, parts: pa.Table) -> pa.Table:
        """Process one part: `parts` has one row with its `keys`; return one row with its tally."""
        keys: list[str] = parts.column("keys")[0].as_py()
        tally: dict[str, Any] = {
            "part": part_name(keys),
            "images": len(keys),
            "objects": 0,
            "rejects": 0,
            "node": ray.get_runtime_context().get_node_id(),
            "error": self._fatal_error,
        }
        if self._detector is not None:
            if not ray.get(self._attempts.begin.remote(tally["part"])):
                return pa.Table.from_pylist([{**tally, "error": _crash_message(self._job, keys)}])
            try:
                tally["objects"], tally["rejects"] = process_part(self._detector, self._job, keys)
            except LookonceError as error:
                tally["error"] = str(error)
            ray.get(self._attempts.end.remote(tally["part"]))
        return pa.Table.from_pylist([tally])


def process_part(detector: Detector, job: Job, keys: Sequence[str]) -> tuple[int, int]:
    """Detect in a part's images and write it; return the objects and rejects. Raises LookonceError."""
    outcomes: list[tuple[str, Detections | str]] = []
    unreachable: list[str] = []
    batch: list[tuple[str, Prepared]] = []
    timeouts = 0  # in a row

    def detect_batch() -> None:
        if not batch:
            return
        outputs = detector.infer(np.stack([pixels for _, (pixels, _) in batch]))
        found = detector.interpret(outputs, [geometry for _, (_, geometry) in batch])
        outcomes.extend((key, one) for (key, _), one in zip(batch, found, strict=True))
        batch.clear()

    def prepare(key: str) -> Prepared:
        pixels = decode_image(_fetch(job.source, key), key)
        return to_input(pixels, detector.card.input_size, detector.card.resize)

    # Large originals are not kept; readers of an unresponsive store are not waited for.
    for key, read in parallel_map(prepare, keys, _READERS, ahead=job.batch + _READERS):
        try:
            batch.append((key, read.result()))
            timeouts = 0
        except ImageError as error:
            outcomes.append((key, str(error)))
            if isinstance(error, UnreachableError):
                unreachable.append(str(error))
                timeouts += not error.final
                if timeouts >= _FEW:
                    raise _outage(job.source, unreachable, len(outcomes)) from error
        if len(batch) == job.batch:
            detect_batch()
    detect_batch()
    if len(unreachable) >= max(_FEW, len(keys) / 2):
        raise _outage(job.source, unreachable, len(keys))
    return job.output.write(keys, outcomes)


def _fetch(source: Folder, key: str) -> bytes:
    """Read an image's bytes, retrying transient errors. Raises ImageError."""
    started = time.monotonic()
    for attempt in range(_TRIES):
        try:
            data = source.read(key, _MOST_BYTES + 1)
            break
        # Errors of stores share no base class but Exception.
        except Exception as error:
            final = isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError))
            if final or attempt == _TRIES - 1 or time.monotonic() > started + _TRY_SECONDS:
                raise UnreachableError(f"{key}: cannot be opened ({error_text(error)})", final) from error
            time.sleep(_PAUSE_SECONDS * 2**attempt)
    if len(data) > _MOST_BYTES:
        raise ImageError(f"{key}: more than {_MOST_BYTES:,} bytes; expected an image")
    return data


def _outage(source: Folder, unreachable: list[str], images: int) -> LookonceError:
    """Return the error for unreachable storage, as opposed to damaged images."""
    fix = (
        "that all machines of the cluster share the folder" if source.local else "the network and credentials"
    )
    return LookonceError(
        f"{source.name}: {len(unreachable)} of {images} images cannot be read by a worker, such as "
        f"{unreachable[0]}. Check {fix}; the same command resumes the run."
    )


def _crash_message(job: Job, keys: Sequence[str]) -> str:
    names = keys[0] if len(keys) == 1 else f"the {len(keys)} images from {keys[0]} to {keys[-1]}"
    return f"{job.source.name}: workers keep crashing over {names}. {_fix(job)}"


def _fix(job: Job) -> str:
    return (
        f"Memory may be too small for batch {job.batch} or for this many workers; lower either. The same "
        "command resumes the run."
    )
