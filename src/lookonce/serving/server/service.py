"""The model at work for many clients: a bounded queue, decoding threads, batches, reloading."""

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
from lookonce.serving.server.served_model import ServedModel, give_back, load_model, shown, version_of
from lookonce.serving.server.settings import Settings
from lookonce.serving.server.telemetry import Telemetry, log, log_fault
from lookonce.serving.server.uploads import Upload

# A threshold near 0 lets every box of every class through; more than these would only take time.
_CANDIDATES = 10_000
STAGES = ("queue", "decode", "infer", "nms")


@dataclass(frozen=True, eq=False)
class RequestResult:
    """What came of one request's images, in their order.

    `images` are uint8 RGB (h, w, 3), None where unread or not kept. `seconds` of each of STAGES is the
    longest of any image; `model` is the one that answered.
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
    """One image of a request, decoded, on its way into a batch."""

    request: _Request
    index: int
    prepared: Prepared
    queued: float
    since: float


class Service:
    """Detections for many requests at once; safe to call from any thread.

    Threads decode images and bring them to the input size; each lane takes what has gathered, up to
    `max_batch`, waits at most `batch_wait_seconds` for images that are being decoded, and runs the network.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry | None = None) -> None:
        """Load and warm the model. Raises LookonceError."""
        self.settings = settings
        self.telemetry = telemetry or Telemetry()
        self._model = load_model(settings)
        self._reloading = threading.Lock()
        self._changed = threading.Condition()
        # Under _changed: images decoded and waiting, being decoded, and in all between arrival and answer.
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
        """The one that new requests get."""
        return self._model

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed

    def submit(
        self,
        uploads: Sequence[Upload | NDArray[np.uint8]],
        conf: float | None = None,
        iou: float | None = None,
        keep: bool = False,
    ) -> Future[RequestResult]:
        """Look at one request's images, files or uint8 RGB (h, w, 3); `keep` those decoded, for drawing.

        The future gives RequestResult, or Refusal 503 when the deadline passes. Raises Refusal 503 at once
        when the queue has no room, 400 for an `iou` that the model can't follow.
        """
        settings, model = self.settings, self._model
        if iou is not None and model.detector.nms_inside:
            raise Refusal(
                400, "iou: this model has NMS inside, its overlap is fixed. Leave the parameter out."
            )
        with self._changed:
            if self._closed:
                raise Refusal(503, "the service is shutting down; ask again.")
            if self._in_flight + len(uploads) > settings.max_queue:
                raise Refusal(
                    503,
                    f"the queue is full ({self._in_flight} of {settings.max_queue} images); ask again soon.",
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
        # From here on nobody can cancel it, so that exactly one of result and exception can be set.
        request.future.set_running_or_notify_cancel()
        for index, upload in enumerate(uploads):
            self._readers.submit(self._read, request, index, upload, now)
        return request.future

    def reload(self) -> str:
        """Replace the model by what its files hold now; requests already inside finish with the old one.

        Returns the version that is served now. Raises LookonceError, with the old model still serving.
        """
        with self._reloading:
            try:
                # Unchanged files are left alone: with several workers the same word comes more than once.
                if version_of(self.settings) != self._model.version:
                    self._model = load_model(self.settings)
                    give_back()
                    self.telemetry.reloads.labels("loaded").inc()
                    log("model loaded", model=self._model.name, version=self._model.version)
            except LookonceError as error:
                self.telemetry.reloads.labels("failed").inc()
                message = shown(str(error), self.settings)
                raise LookonceError(f"{message} Still serving version {self._model.version}.") from error
            return self._model.version

    def close(self) -> None:
        """Answer what is inside, take nothing more, and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._readers.shutdown()
        for lane in self._lanes:
            lane.join()

    def _read(self, request: _Request, index: int, upload: Upload | NDArray[np.uint8], since: float) -> None:
        begun = time.monotonic()
        prepared: Prepared | None = None
        answer: ImageError | None = None
        fault: BaseException | None = None
        try:
            if begun > request.deadline:
                fault = _too_late(self.settings)
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
            answer = error
        # Whatever it is, the client waits for an answer and the queue for its place.
        except BaseException as error:
            log_fault("decoding failed", error)
            fault = error
        ended = time.monotonic()
        with self._changed:
            self._decoding -= 1
            _longest(request.seconds, "decode", ended - begun)
            if prepared is not None:
                self._pending.append(_PendingImage(request, index, prepared, begun - since, ended))
            self._changed.notify_all()
        self.telemetry.stages.labels("decode").observe(ended - begun)
        if prepared is None:
            self._finish(request, index, answer, fault)

    def _run_lane(self) -> None:
        while batch := self._next_batch():
            begun = time.monotonic()
            late = [one for one in batch if begun > one.request.deadline or one.request.failed]
            for one in late:
                self._finish(one.request, one.index, None, _too_late(self.settings))
            ready = [one for one in batch if one not in late]
            try:
                if ready:
                    self._run_batch(ready, begun)
            except BaseException as error:
                log_fault("detection failed", error)
                for one in ready:
                    self._finish(one.request, one.index, None, error)

    def _next_batch(self) -> list[_PendingImage]:
        """What goes through the network next, all for one model; empty when the service has closed."""
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
                # While this lane waited, another may have taken them.
                if self._pending:
                    return self._take()

    def _take(self) -> list[_PendingImage]:
        """This lane's share of what waits: all lanes are to finish together."""
        share = min(self.settings.max_batch, math.ceil(len(self._pending) / len(self._lanes)))
        batch = [self._pending.popleft()]
        while len(batch) < share and self._pending[0].request.model is batch[0].request.model:
            batch.append(self._pending.popleft())
        return batch

    def _run_batch(self, batch: list[_PendingImage], begun: float) -> None:
        model = batch[0].request.model
        detector = model.single_image if self._in_flight == 1 else model.detector
        outputs = detector.infer(np.stack([one.prepared.pixels for one in batch]))
        inferred = time.monotonic()
        found = detector.interpret(
            outputs,
            [one.prepared.geometry for one in batch],
            [(one.request.conf, one.request.iou) for one in batch],
            _CANDIDATES,
        )
        ended = time.monotonic()
        self.telemetry.batches.observe(len(batch))
        for one, detections in zip(batch, found, strict=True):
            seconds = {
                "queue": one.queued + begun - one.since,
                "infer": inferred - begun,
                "nms": (ended - inferred) / len(batch),
            }
            for stage, value in seconds.items():
                self.telemetry.stages.labels(stage).observe(value)
                _longest(one.request.seconds, stage, value)
            self._finish(one.request, one.index, detections.best(self.settings.max_detections))

    def _finish(
        self,
        request: _Request,
        index: int,
        answer: Detections | ImageError | None,
        fault: BaseException | None = None,
    ) -> None:
        """Note what came of one image; with the last, or a fault, the request is answered."""
        with self._changed:
            self._in_flight -= 1
            self.telemetry.queue.set(self._in_flight)
            request.outcomes[index] = answer
            request.missing -= 1
            first_fault = fault is not None and not request.failed
            request.failed |= first_fault
            last = not request.missing and not request.failed
        result = "failed" if answer is None else "unread" if isinstance(answer, ImageError) else "answered"
        self.telemetry.images.labels(result).inc()
        if first_fault:
            request.future.set_exception(fault)
        elif last:
            outcomes = tuple(one for one in request.outcomes if one is not None)
            request.future.set_result(
                RequestResult(outcomes, tuple(request.images), request.seconds, request.model)
            )


def _longest(seconds: dict[str, float], stage: str, value: float) -> None:
    seconds[stage] = max(seconds[stage], value)


def _too_late(settings: Settings) -> Refusal:
    return Refusal(503, f"no answer within {settings.deadline_seconds:g} seconds; ask again later.")
