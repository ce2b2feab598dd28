"""Run the model for many clients: bounded queue, decoding threads, dynamic batches, reloading."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lookonce.core.detections import Detections
from lookonce.errors import LookonceError
from lookonce.inference.detector import Prepared
from lookonce.io.images import ImageError, decode_image
from lookonce.io.parallel import available_cores
from lookonce.serving.server.replies import Refusal
from lookonce.serving.server.served_model import (
    ServedModel,
    load_model,
    release_free_memory,
    version_of,
    without_paths,
)
from lookonce.serving.server.settings import Settings
from lookonce.serving.server.telemetry import Telemetry, log, log_fault
from lookonce.serving.server.uploads import Upload

# A threshold near 0 passes every box of every class; more candidates than this only cost time.
_CANDIDATES = 10_000
STAGES = ("queue", "decode", "infer", "nms")


@dataclass(frozen=True, eq=False)
class RequestResult:
    """The results of one request's images, in order.

    `outcomes` holds each image's Detections or ImageError, `images` its uint8 RGB pixels (h, w, 3), None if
    unreadable or not kept. `seconds` is the longest duration of any image in each of STAGES; `model` is the
    model that was used.
    """

    outcomes: tuple[Detections | ImageError, ...]
    images: tuple[NDArray[np.uint8] | None, ...]
    seconds: dict[str, float]
    model: ServedModel


@dataclass(eq=False)
class _Request:
    model: ServedModel
    conf: float
    iou: float
    keep: bool
    deadline: float
    outcomes: list[Detections | ImageError | None]
    images: list[NDArray[np.uint8] | None]
    future: Future[RequestResult] = field(default_factory=Future)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    missing: int = 0
    failed: bool = False


@dataclass(eq=False)
class _PendingImage:
    """One decoded image of a request, waiting for a batch."""

    request: _Request
    index: int
    prepared: Prepared
    queued: float
    since: float


class Service:
    """Detect objects for many concurrent requests; thread-safe.

    Threads decode images and resize them to the input size. Each lane takes up to `max_batch` of the pending
    images, after waiting at most `batch_wait_seconds` for those being decoded, and runs the network.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry | None = None) -> None:
        """Load and warm up the model. Raises LookonceError."""
        self.settings = settings
        self.telemetry = telemetry or Telemetry()
        self._model = load_model(settings)
        self._reloading = threading.Lock()
        self._changed = threading.Condition()
        # Guarded by _changed: images decoded and pending, being decoded, and in flight altogether.
        self._pending: deque[_PendingImage] = deque()
        self._decoding = 0
        self._in_flight = 0
        self._closed = False
        self._readers = ThreadPoolExecutor(max(2, available_cores()), thread_name_prefix="decode")
        self._lanes = [
            threading.Thread(target=self._run_lane, name=f"lane-{index}", daemon=True)
            for index in range(self._model.lanes)
        ]
        for lane in self._lanes:
            lane.start()

    @property
    def model(self) -> ServedModel:
        """The model that new requests use."""
        return self._model

    @property
    def closed(self) -> bool:
        """Whether the service refuses further requests."""
        return self._closed

    @property
    def images_in_flight(self) -> int:
        """Number of images between arrival and response."""
        return self._in_flight

    @property
    def images_decoding(self) -> int:
        """Number of images waiting to be decoded or being decoded."""
        return self._decoding

    def submit(
        self,
        uploads: Sequence[Upload | NDArray[np.uint8]],
        conf: float | None = None,
        iou: float | None = None,
        keep: bool = False,
    ) -> Future[RequestResult]:
        """Queue one request's images; return the future of its result.

        The future raises Refusal 503 when the deadline passes.

        Args:
            uploads: image files, or uint8 RGB arrays (h, w, 3).
            conf: minimum score; default: the service's.
            iou: NMS threshold; default: the service's.
            keep: keep the decoded images in the result, for drawing.

        Raises:
            Refusal: 503 when the queue is full or closed; 400 for `iou` if the model has NMS inside.
        """
        settings, model = self.settings, self._model
        if iou is not None and model.detector.nms_inside:
            raise Refusal(
                400, "iou: this model has NMS inside with a fixed threshold. Leave the parameter out."
            )
        with self._changed:
            if self._closed:
                raise Refusal(503, "the service is shutting down; try again.")
            if self._in_flight + len(uploads) > settings.max_queue:
                raise Refusal(
                    503,
                    f"the queue is full ({self._in_flight} of {settings.max_queue} images); try again soon.",
                )
            self._in_flight += len(uploads)
            self._decoding += len(uploads)
            self.telemetry.queue.set(self._in_flight)
        now = time.monotonic()
        request = _Request(
            model,
            settings.conf if conf is None else conf,
            settings.iou if iou is None else iou,
            keep,
            now + settings.deadline_seconds,
            [None] * len(uploads),
            [None] * len(uploads),
            missing=len(uploads),
        )
        # From here on the future cannot be cancelled, so that setting its result never fails.
        request.future.set_running_or_notify_cancel()
        for index, upload in enumerate(uploads):
            self._readers.submit(self._read, request, index, upload, now)
        return request.future

    def reload(self) -> str:
        """Reload the model's files; in-flight requests finish with the old model.

        Returns the version now served. Raises LookonceError and keeps serving the old model on failure.
        """
        with self._reloading:
            try:
                # Skip unchanged files: with several workers a reload is requested more than once.
                if version_of(self.settings) != self._model.version:
                    self._model = load_model(self.settings)
                    release_free_memory()
                    self.telemetry.reloads.labels("loaded").inc()
                    log("model loaded", model=self._model.name, version=self._model.version)
            except LookonceError as error:
                self.telemetry.reloads.labels("failed").inc()
                message = without_paths(str(error), self.settings)
                raise LookonceError(f"{message} Still serving version {self._model.version}.") from error
            return self._model.version

    def close(self) -> None:
        """Refuse further requests, finish those in flight, and stop the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._readers.shutdown()
        for lane in self._lanes:
            lane.join()

    def _read(self, request: _Request, index: int, upload: Upload | NDArray[np.uint8], since: float) -> None:
        started = time.monotonic()
        prepared: Prepared | None = None
        outcome: ImageError | None = None
        fault: BaseException | None = None
        try:
            if started > request.deadline:
                fault = _deadline_exceeded(self.settings)
            elif not request.failed:
                pixels = (
                    decode_image(upload.content, upload.name, self.settings.max_pixels)
                    if isinstance(upload, Upload)
                    else upload
                )
                prepared = request.model.detector.prepare(pixels)
                if request.keep:
                    request.images[index] = pixels
                prepared = prepared._replace(image=None)
        except ImageError as error:
            outcome = error
        # Any failure must complete the request and free its place in the queue.
        except BaseException as error:
            log_fault("decoding failed", error)
            fault = error
        finished = time.monotonic()
        with self._changed:
            self._decoding -= 1
            _keep_longest(request.seconds, "decode", finished - started)
            if prepared is not None:
                self._pending.append(_PendingImage(request, index, prepared, started - since, finished))
            self._changed.notify_all()
        self.telemetry.stages.labels("decode").observe(finished - started)
        if prepared is None:
            self._finish(request, index, outcome, fault)

    def _run_lane(self) -> None:
        while batch := self._next_batch():
            started = time.monotonic()
            late = [one for one in batch if started > one.request.deadline or one.request.failed]
            for one in late:
                self._finish(one.request, one.index, None, _deadline_exceeded(self.settings))
            ready = [one for one in batch if one not in late]
            try:
                if ready:
                    self._run_batch(ready, started)
            except BaseException as error:
                log_fault("detection failed", error)
                for one in ready:
                    self._finish(one.request, one.index, None, error)

    def _next_batch(self) -> list[_PendingImage]:
        """Wait for the next batch, all for one model; empty when the service has closed."""
        with self._changed:
            while True:
                while not self._pending:
                    if self._closed and not self._decoding:
                        return []
                    self._changed.wait()
                until = time.monotonic() + self.settings.batch_wait_seconds
                while self._decoding and len(self._pending) < self.settings.max_batch:
                    if (rest := until - time.monotonic()) <= 0 or not self._changed.wait(rest):
                        break
                # Another lane may have taken them while this one waited.
                if self._pending:
                    return self._take()

    def _take(self) -> list[_PendingImage]:
        """Take this lane's share of the pending images, so that all lanes finish together."""
        share = min(self.settings.max_batch, math.ceil(len(self._pending) / len(self._lanes)))
        batch = [self._pending.popleft()]
        while len(batch) < share and self._pending[0].request.model is batch[0].request.model:
            batch.append(self._pending.popleft())
        return batch

    def _run_batch(self, batch: list[_PendingImage], started: float) -> None:
        model = batch[0].request.model
        detector = model.single_image if self._in_flight == 1 else model.detector
        outputs = detector.infer(np.stack([one.prepared.pixels for one in batch]))
        inferred = time.monotonic()
        detections = detector.interpret(
            outputs,
            [one.prepared.geometry for one in batch],
            [(one.request.conf, one.request.iou) for one in batch],
            _CANDIDATES,
        )
        finished = time.monotonic()
        self.telemetry.batches.observe(len(batch))
        for one, found in zip(batch, detections, strict=True):
            seconds = {
                "queue": one.queued + started - one.since,
                "infer": inferred - started,
                "nms": (finished - inferred) / len(batch),
            }
            for stage, value in seconds.items():
                self.telemetry.stages.labels(stage).observe(value)
                _keep_longest(one.request.seconds, stage, value)
            self._finish(one.request, one.index, found.best(self.settings.max_detections))

    def _finish(
        self,
        request: _Request,
        index: int,
        outcome: Detections | ImageError | None,
        fault: BaseException | None = None,
    ) -> None:
        """Record one image's outcome; the last one, or the first fault, completes the request."""
        with self._changed:
            self._in_flight -= 1
            self.telemetry.queue.set(self._in_flight)
            request.outcomes[index] = outcome
            request.missing -= 1
            first_fault = fault is not None and not request.failed
            request.failed |= first_fault
            last = not request.missing and not request.failed
        result = (
            "failed" if outcome is None else "unreadable" if isinstance(outcome, ImageError) else "detected"
        )
        self.telemetry.images.labels(result).inc()
        if first_fault:
            request.future.set_exception(fault)
        elif last:
            outcomes = tuple(one for one in request.outcomes if one is not None)
            request.future.set_result(
                RequestResult(outcomes, tuple(request.images), request.seconds, request.model)
            )


def _keep_longest(seconds: dict[str, float], stage: str, value: float) -> None:
    seconds[stage] = max(seconds[stage], value)


def _deadline_exceeded(settings: Settings) -> Refusal:
    return Refusal(503, f"no result within {settings.deadline_seconds:g} seconds; try again later.")
