"""One connection to a camera or stream: RGB frames until it ends, VideoError when it fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import cv2
import numpy as np

from lookonce.inference.video.frame import Pixels, VideoError, pyav
from lookonce.inference.video.reading import unopenable, upright_rgb

# A stream that sends nothing for so long counts as lost.
_TIMEOUT_SECONDS = 10
# Cameras over UDP lose packets, and with them half images; frames are wanted now, not in a second.
_OPTIONS = {"rtsp_transport": "tcp", "fflags": "nobuffer", "flags": "low_delay"}


def open_stream(address: str, damaged: Callable[[], None]) -> Iterator[Pixels]:
    """Frames (h, w, 3) uint8 RGB of a stream; `damaged` is called for each that can't be decoded."""
    av = pyav()
    shown = without_password(address)
    try:
        container = av.open(address, options=_OPTIONS, timeout=_TIMEOUT_SECONDS, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise unopenable(shown, error) from error
    with container:
        if not container.streams.video:
            raise VideoError(f"{shown}: holds no video stream")
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
    """Frames (h, w, 3) uint8 RGB of the camera with this index, by the system's own interface."""
    # What OpenCV prints when a camera is missing says no more than the error below.
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    camera = cv2.VideoCapture(index)
    log.setLogLevel(level)
    try:
        if not camera.isOpened():
            raise VideoError(
                f"camera {index} can't be opened. The first camera is 0; see that it is plugged in, that no "
                "other program uses it, and that this one may (on Linux: your user is in the group video)"
            )
        while True:
            there, pixels = camera.read()
            if not there:
                raise VideoError("no more images")
            # OpenCV gives BGR.
            yield np.ascontiguousarray(pixels[..., ::-1], dtype=np.uint8)
    finally:
        camera.release()


def without_password(address: str) -> str:
    """The address as it may be shown: user name and password left out."""
    if not urlsplit(address).password and "@" not in urlsplit(address).netloc:
        return address
    return re.sub(r"(?<=://)[^/]*@", "", address, count=1)
