"""What runs in each of Ray's processes: read a part's images, look at them, write the part."""

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
    """Counts for one run, in a process of its own; all of it is small."""

    def __init__(self, workers: int, retries: int) -> None:
        """`workers` run at a time; a part may lose its worker `retries` times."""
        # One more than deaths over parts can need: of those, a part's own count tells more.
        self._most_starts = workers * (2 + retries)
        self._most_begun = 1 + retries
        self._starts = 0
        self._begun: Counter[str] = Counter()

    def start(self) -> bool:
        """A worker starts: whether it may; not where so many did without one part's end."""
        self._starts += 1
        return self._starts <= self._most_starts

    def begin(self, part: str) -> bool:
        """A worker begins a part: whether it may; not where so many died over it."""
        self._begun[part] += 1
        return self._begun[part] <= self._most_begun

    def end(self, part: str) -> None:
        """A part is written."""
        self._starts = 0
        self._begun.pop(part, None)


def attempts_actor(workers: int, retries: int) -> Any:
    """An Attempts that every worker reaches; it takes no processor."""
    import ray

    # Should its machine die, it counts from nothing: a run is then longer, not wrong.
    remote = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts)
    return remote.remote(workers, retries)


# Stores answer late, and many at once.
_READERS = 8
_MOST_BYTES = 2**30  # more than any image has: a reader stops there
_TRIES = 3
_PAUSE_SECONDS = 0.5
# Clients of stores try again by themselves, for a minute and more.
_TRY_SECONDS = 30.0
# Of a part, that many unreachable images and more than half are no accident.
_FEW = 8

Prepared = tuple[NDArray[np.float32], Geometry]


@dataclass(frozen=True)
class Job:
    """What every worker needs to know; the images come part by part."""

    source: Folder
    output: Parts
    conf: float
    iou: float
    device: str
    threads: int
    batch: int


class UnreachableError(ImageError):
    """An image that the store or the disk doesn't give, as opposed to one that is damaged."""

    def __init__(self, message: str, final: bool) -> None:
        """`final`: that image is not to be had, and it took no waiting to know it."""
        super().__init__(message)
        self.final = final


class Worker:
    """One actor: opens the model once, then answers part after part."""

    def __init__(self, job: Job, graph: list[Any], attempts: Any) -> None:
        """`graph` is one reference, to an ONNX file's content, card inside; `attempts` an actor."""
        self._job = job
        self._attempts = attempts
        self._detector: Detector | None = None
        self._refusal = ""
        if not ray.get(attempts.start.remote()):
            self._refusal = f"worker after worker died before one part was done. {_fix(job)}"
            return
        # Raised here, an error would only restart the actor; reported with the first part, it ends the run.
        try:
            with tempfile.TemporaryDirectory() as folder:
                model = Path(folder) / "model.onnx"
                model.write_bytes(ray.get(graph[0]))
                self._detector = Detector(
                    model, conf=job.conf, iou=job.iou, device=job.device, threads=job.threads
                )
        except LookonceError as error:
            self._refusal = str(error)

    def __call__(self, parts: pa.Table) -> pa.Table:
        """Do one part: `parts` has one row, its `keys`. The answer's row is what came of it."""
        keys: list[str] = parts.column("keys")[0].as_py()
        tally: dict[str, Any] = {
            "part": part_name(keys),
            "images": len(keys),
            "objects": 0,
            "rejects": 0,
            "node": ray.get_runtime_context().get_node_id(),
            "error": self._refusal,
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
    """Look at a part's images and write it: how many objects and rejects. Raises LookonceError."""
    answers: list[tuple[str, Detections | str]] = []
    unreachable: list[str] = []
    batch: list[tuple[str, Prepared]] = []
    waited = 0  # for so many in a row, and in vain

    def look() -> None:
        if not batch:
            return
        outputs = detector.infer(np.stack([pixels for _, (pixels, _) in batch]))
        found = detector.interpret(outputs, [geometry for _, (_, geometry) in batch])
        answers.extend((key, one) for (key, _), one in zip(batch, found, strict=True))
        batch.clear()

    def prepare(key: str) -> Prepared:
        pixels = decode_image(_fetch(job.source, key), key)
        return to_input(pixels, detector.card.input_size, detector.card.resize)

    # Large originals are not kept; readers of a store that answers nobody are not waited for.
    for key, read in parallel_map(prepare, keys, _READERS, ahead=job.batch + _READERS):
        try:
            batch.append((key, read.result()))
            waited = 0
        except ImageError as error:
            answers.append((key, str(error)))
            if isinstance(error, UnreachableError):
                unreachable.append(str(error))
                waited += not error.final
                if waited >= _FEW:
                    raise _outage(job.source, unreachable, len(answers)) from error
        if len(batch) == job.batch:
            look()
    look()
    if len(unreachable) >= max(_FEW, len(keys) / 2):
        raise _outage(job.source, unreachable, len(keys))
    return job.output.write(keys, answers)


def _fetch(source: Folder, key: str) -> bytes:
    """An image's bytes; what may pass is tried again. Raises ImageError."""
    started = time.monotonic()
    for attempt in range(_TRIES):
        try:
            data = source.read(key, _MOST_BYTES + 1)
            break
        # Each store raises errors of its own that share no base but Exception.
        except Exception as error:
            final = isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError))
            if final or attempt == _TRIES - 1 or time.monotonic() > started + _TRY_SECONDS:
                raise UnreachableError(f"{key}: cannot be opened ({error_text(error)})", final) from error
            time.sleep(_PAUSE_SECONDS * 2**attempt)
    if len(data) > _MOST_BYTES:
        raise ImageError(f"{key}: more than {_MOST_BYTES:,} bytes, which no image has; give another file")
    return data


def _outage(source: Folder, unreachable: list[str], images: int) -> LookonceError:
    """What to say where it isn't the images that are at fault."""
    fix = "a folder that all machines of the cluster have" if source.local else "the network and credentials"
    return LookonceError(
        f"{source.name}: {len(unreachable)} of {images} images can't be reached from a worker, such as "
        f"{unreachable[0]}. Check {fix}; the same command goes on where it stopped."
    )


def _crash_message(job: Job, keys: Sequence[str]) -> str:
    names = keys[0] if len(keys) == 1 else f"the {len(keys)} images from {keys[0]} to {keys[-1]}"
    return f"{job.source.name}: worker after worker died over {names}. {_fix(job)}"


def _fix(job: Job) -> str:
    return (
        f"Too little memory for --batch {job.batch} or for as many --workers? The same command goes on where "
        "it stopped."
    )
