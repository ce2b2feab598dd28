"""Read video files as upright RGB frames with exact times; report and skip damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from lookonce.inference.video.frame import Frame, Pixels, VideoError, pyav

# Assumed for streams without a frame rate (some AVI, raw H.264).
_USUAL_RATE = Fraction(25)
# Untagged video with at least this many rows is BT.709 by convention; FFmpeg assumes BT.601.
_HD_ROWS = 720
_UNSPECIFIED = 2
# Each report names a frame; a badly damaged file must not print a thousand lines.
_MOST_REPORTS = 5
_MOST_BROKEN_READS = 100


class VideoFile:
    """A video file, or one behind an http(s) address, read from its first frame to its last.

    `rate` is the average frames per second, `frames` the number declared in the file (0: unknown), `broken`
    the number of undecodable frames so far, `truncated` whether the file ended early (known after iteration).
    """

    live = False

    def __init__(self, source: str, report: Callable[[str], None] = print) -> None:
        """Read the header of `source`; `report` is called with messages on damage. Raises VideoError."""
        self.source, self._report = source, report
        self.broken, self.truncated = 0, False
        with self._open() as container:
            stream = self._video_stream(container)
            self.frames = int(stream.frames or 0)
            rate = stream.average_rate or stream.guessed_rate
            self.rate = Fraction(rate) if rate else _USUAL_RATE
            self.time_base = Fraction(stream.time_base)
            self.pixel_aspect = stream.sample_aspect_ratio
            self.has_audio = bool(container.streams.audio)
            # Matroska declares its end, which reveals missing data.
            self._declared_end = _seconds(container.duration) if container.format.name != "mpegts" else None

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(self.source).name

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames in display order; report and skip undecodable ones.

        Raises VideoError if none can be decoded.
        """
        with self._open() as container:
            stream = self._video_stream(container)
            stream.thread_type = "AUTO"
            start = start_of(container)
            number, last = 0, None
            for decoded in self._decoded(container, stream):
                time = self._time(decoded, start, last)
                last = time
                if decoded.is_corrupt:
                    self._broken(f"frame {number} at {float(time):.2f} s is damaged")
                else:
                    yield Frame(upright_rgb(decoded), number, time)
                number += 1
        self._check_end(number, last)

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yield decoded frames, skipping unreadable data."""
        av = pyav()
        self._packets, failed_reads = 0, 0
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                failed_reads += 1
                if failed_reads > _MOST_BROKEN_READS:
                    return
                self._broken(f"unreadable data ({error.strerror or error})")
                packets = container.demux(stream)
                continue
            self._packets += packet.size > 0
            try:
                yield from packet.decode()
            except av.FFmpegError as error:
                at = f" at {float(packet.pts * packet.time_base):.2f} s" if packet.pts is not None else ""
                self._broken(f"a frame{at} cannot be decoded ({error.strerror or error})")

    def _time(self, decoded: Any, start: Fraction, last: Fraction | None) -> Fraction:
        if decoded.pts is None:
            return Fraction(0) if last is None else last + 1 / self.rate
        time = Fraction(decoded.pts * decoded.time_base) - start
        return time if last is None or time > last else last + Fraction(self.time_base)

    def _broken(self, what: str) -> None:
        self.broken += 1
        if self.broken <= _MOST_REPORTS:
            self._report(f"{self.source}: {what}; skipped")
        elif self.broken == _MOST_REPORTS + 1:
            self._report(f"{self.source}: more damaged frames; see the summary for the count")

    def _check_end(self, number: int, last: Fraction | None) -> None:
        if last is None:
            raise VideoError(
                f"{self.source}: no frame can be decoded. Copy the file again, or convert it: "
                "ffmpeg -i FILE -c:v libx264 new.mp4"
            )
        end = last + 1 / self.rate
        if self.frames > self._packets:
            self.truncated = True
            self._report(
                f"{self.source}: the file ends early, after {number} of {self.frames} frames "
                f"({float(end):.1f} s). Copy it again; the readable part was used."
            )
        elif not self.frames and self._declared_end is not None and self._declared_end - end > 2:
            self.truncated = True
            self._report(
                f"{self.source}: the file ends early, at {float(end):.1f} of "
                f"{float(self._declared_end):.1f} s. Copy it again; the readable part was used."
            )

    def _open(self) -> Any:
        av = pyav()
        try:
            return av.open(self.source, metadata_errors="replace", timeout=30)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise unopenable(self.source, error) from error

    def _video_stream(self, container: Any) -> Any:
        if not container.streams.video:
            raise VideoError(f"{self.source}: has no video stream; expected a video file such as .mp4")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise VideoError(
                f"{self.source}: its video codec is not supported here; convert it: "
                "ffmpeg -i FILE -c:v libx264 new.mp4"
            )
        return stream


def unopenable(source: str, error: Exception) -> VideoError:
    """Explain why FFmpeg cannot open a source, with the fix."""
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, FileNotFoundError) and "://" not in source:
        return VideoError(f"{source}: no such file; check the name")
    if isinstance(error, pyav().InvalidDataError):
        reason = (
            "not a video, or truncated before its index, which an .mp4 has at its end and cannot be read "
            "without. Copy or record it again"
        )
    return VideoError(f"{source}: cannot be opened as video ({reason})")


def start_of(container: Any) -> Fraction:
    """Return the start time of a container in seconds, the origin of both image and sound times."""
    return _seconds(container.start_time) or Fraction(0)


def upright_rgb(decoded: Any) -> Pixels:
    """Convert a frame to uint8 RGB (h, w, 3), rotated by its display matrix (ISO 14496-12, 6.2.2)."""
    guess_hd = decoded.colorspace == _UNSPECIFIED and decoded.height >= _HD_ROWS
    options = {"src_colorspace": "ITU709"} if guess_hd else {}
    pixels: Pixels = decoded.to_ndarray(format="rgb24", **options)
    try:
        matrix = decoded.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV 18 raises on unknown kinds of side data, such as a JPEG's EXIF. It still reports the matrix's
        # rotation, though not a mirroring.
        return np.ascontiguousarray(np.rot90(pixels, round(decoded.rotation / 90)))
    if matrix is None:
        return pixels
    # x' = a x + c y, y' = b x + d y; signs suffice: players only rotate by multiples of 90 degrees.
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        pixels = pixels.transpose(1, 0, 2)
        a, d = c, b
    pixels = pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(pixels)


def _seconds(microseconds: int | None) -> Fraction | None:
    return None if microseconds is None else Fraction(microseconds, 1_000_000)
