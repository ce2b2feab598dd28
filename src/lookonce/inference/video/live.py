"""Live sources: cameras and streams, read at their newest frame and reopened after connection loss."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from urllib.parse import urlsplit

import cv2
import numpy as np

from lookonce.inference.video.frame import Frame, Pixels, VideoError, pyav
from lookonce.inference.video.reading import unopenable, upright_rgb

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 30.0
_PIECE_SECONDS = 0.2
_ASSUMED_RATE = Fraction(25)
_MICROSECOND = Fraction(1, 1_000_000)


class LiveSource:
    """A camera (its index) or a stream (rtsp://, http://, ...), read by a thread that keeps the newest frame.

    A slow reader skips frames, counted in `skipped`, instead of falling behind. A lost source is reopened
    after 1, 2, 4, ... 30 seconds, until it is back; `drops` counts the losses, `broken` the damaged frames.
    """

    live = True
    rate = _ASSUMED_RATE
    frames = 0

    def __init__(
        self, source: str, report: Callable[[str], None] = print, seconds: float | None = None
    ) -> None:
        """Prepare a source without opening it.

        Args:
            source: camera index or stream address.
            report: called with a message when the connection is lost or back.
            seconds: stop after this time; None: run until `stop`.
        """
        self.source, self._report, self._seconds = source, report, seconds
        self.name = f"camera-{source}" if source.isdigit() else without_password(source)
        self.skipped = self.drops = self.broken = 0
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._error: Exception | None = None

    def stop(self) -> None:
        """Stop the source and its iteration; safe to call from signal handlers and threads."""
        self._stopped.set()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frame; `number` counts all received frames, `time` is since the first one.

        Raises VideoError if the source cannot be opened the first time.
        """
        started = time.monotonic()
        reader = threading.Thread(target=self._read_or_fail, daemon=True)
        reader.start()
        expected = 0
        try:
            while not self._stopped.is_set():
                if self._seconds is not None and time.monotonic() - started >= self._seconds:
                    return
                with self._changed:
                    self._changed.wait_for(lambda: self._newest or self._error, _PIECE_SECONDS)
                    if self._error:
                        raise self._error
                    frame, self._newest = self._newest, None
                if frame is not None:
                    self.skipped += frame.number - expected
                    expected = frame.number + 1
                    yield frame
        finally:
            self._stopped.set()
            # A hanging read is not waited for; it stops at its own timeout.
            reader.join(timeout=2)

    def _read_or_fail(self) -> None:
        try:
            self._read()
        except Exception as error:
            # Raised again in the thread that waits for frames.
            self._fail(error)

    def _read(self) -> None:
        number, wait, started = 0, 0.0, 0.0
        while not self._stopped.is_set():
            reason = "the stream ended"
            try:
                for image in self._connection():
                    if wait:
                        self._report(f"{self.name}: reconnected")
                        wait = 0.0
                    if not number:
                        started = time.monotonic()
                    self._show(Frame(image, number, _since(started)))
                    number += 1
                    if self._stopped.is_set():
                        return
            except VideoError as error:
                reason = str(error)
            if not number:
                # Never connected: a wrong address or index, which waiting does not fix.
                raise VideoError(
                    reason
                    if self.source in reason or self.name in reason
                    else f"{self.name}: no image received ({reason})"
                )
            self.drops += not wait
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS) or _FIRST_WAIT_SECONDS
            self._report(f"{self.name}: connection lost ({reason}); retrying in {wait:g} s")
            self._stopped.wait(wait)

    def _connection(self) -> Iterator[Pixels]:
        if self.source.isdigit():
            return open_camera(int(self.source))
        return open_stream(self.source, self._damaged)

    def _damaged(self) -> None:
        self.broken += 1

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _show(self, frame: Frame) -> None:
        with self._changed:
            self._newest = frame
            self._changed.notify_all()


def _since(started: float) -> Fraction:
    return round((time.monotonic() - started) * 1_000_000) * _MICROSECOND


# A stream that sends nothing for this long counts as lost.
_TIMEOUT_SECONDS = 10
# UDP loses packets and thus parts of images; buffering would delay frames.
_OPTIONS = {"rtsp_transport": "tcp", "fflags": "nobuffer", "flags": "low_delay"}


def open_stream(address: str, damaged: Callable[[], None]) -> Iterator[Pixels]:
    """Yield uint8 RGB frames (h, w, 3) of a stream; call `damaged` for each undecodable one."""
    av = pyav()
    shown = without_password(address)
    try:
        container = av.open(address, options=_OPTIONS, timeout=_TIMEOUT_SECONDS, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise unopenable(shown, error) from error
    with container:
        if not container.streams.video:
            raise VideoError(f"{shown}: has no video stream")
        packets = container.demux(container.streams.video[0])
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                raise VideoError(f"no more data: {getattr(error, 'strerror', None) or error}") from error
            if packet is None:
                return
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                damaged()
                continue
            for frame in decoded:
                if frame.is_corrupt:
                    damaged()
                else:
                    yield upright_rgb(frame)


def open_camera(index: int | str) -> Iterator[Pixels]:
    """Yield uint8 RGB frames (h, w, 3) of a camera."""
    # OpenCV's output on a missing camera adds nothing to the error below.
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    camera = cv2.VideoCapture(index)
    log.setLogLevel(level)
    try:
        if not camera.isOpened():
            raise VideoError(
                f"camera {index} cannot be opened. The first camera is 0; check that it is connected, not in "
                "use by another program, and accessible (on Linux: your user is in the group video)"
            )
        while True:
            received, pixels = camera.read()
            if not received:
                raise VideoError("the camera returned no image")
            # OpenCV returns BGR.
            yield np.ascontiguousarray(pixels[..., ::-1], dtype=np.uint8)
    finally:
        camera.release()


def without_password(address: str) -> str:
    """Remove the user name and password from an address, for messages."""
    if not urlsplit(address).password and "@" not in urlsplit(address).netloc:
        return address
    return re.sub(r"(?<=://)[^/]*@", "", address, count=1)
