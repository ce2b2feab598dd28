"""Write video atomically: H.264 in .mp4 or .mov, with the source's timestamps and sound."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from lookonce.inference.video.frame import Frame, Pixels, VideoError, pyav
from lookonce.inference.video.sound import SoundCopy
from lookonce.io.atomic import atomic_file

CONTAINERS = (".mp4", ".mov")
# The clock of MPEG-TS; used for sources without a usable time base.
_TICK = Fraction(1, 90_000)
_BT709 = 1
_LIMITED_RANGE = 1


class VideoWriter:
    """A video file being written: `with VideoWriter(path, rate=25) as writer: writer.write(frame)`.

    The file appears when the block completes without error. Frames keep their timestamps, also at a variable
    rate. Set `cut_short` to end the sound with the last frame. Raises VideoError for suffixes other than .mp4
    and .mov, LookonceError for a full disk.
    """

    def __init__(
        self,
        path: Path,
        rate: Fraction,
        time_base: Fraction = _TICK,
        pixel_aspect: Fraction | None = None,
        sound_of: str | None = None,
    ) -> None:
        """Prepare a file.

        Args:
            path: the file, .mp4 or .mov.
            rate: average frames per second.
            time_base: seconds per tick of the timestamps.
            pixel_aspect: width to height of a pixel; None: square.
            sound_of: file whose sound is copied.
        """
        check_suffix(path)
        self.path, self._rate, self._sound_of = path, rate, sound_of
        self._tick = time_base if time_base.numerator == 1 and time_base.denominator <= 1_000_000 else _TICK
        self._pixel_aspect = pixel_aspect
        self._stack = ExitStack()
        self._stream: Any = None
        self._sound: SoundCopy | None = None
        self._last_tick = -1
        self.cut_short = False

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_file(self.path))
            # Index first, so that browsers play the file while it loads.
            options = {"movflags": "+faststart"}
            self._container = stack.enter_context(pyav().open(str(temporary), "w", options=options))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if error is not None:
                raise error
            self._finish()

    def write(self, frame: Frame) -> None:
        """Encode one frame, stretched to the size of the first."""
        if self._stream is None:
            self._start(frame.image)
        tick = max(round(frame.time / self._tick), self._last_tick + 1)
        self._last_tick = tick
        encodable = pyav().VideoFrame.from_ndarray(_even(frame.image), format="rgb24")
        # Tagged BT.709 at every size: players treat untagged video differently.
        encoded = encodable.reformat(
            self._stream.width, self._stream.height, "yuv420p", dst_colorspace="ITU709"
        )
        encoded.pts, encoded.time_base = tick, self._tick
        self._container.mux(self._stream.encode(encoded))
        if self._sound is not None:
            self._sound.copy_until(frame.time)

    def _start(self, image: Pixels) -> None:
        try:
            stream = self._container.add_stream(
                "libx264", rate=self._rate, options={"preset": "veryfast", "crf": "21"}
            )
        except pyav().codec.codec.UnknownCodecError as error:
            raise VideoError(
                "this build of PyAV cannot encode H.264 (no libx264); install it from PyPI: pip install av"
            ) from error
        height, width = _even(image).shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = self._tick
        stream.color_range = _LIMITED_RANGE
        stream.colorspace = stream.color_primaries = stream.color_trc = _BT709
        if self._pixel_aspect:
            stream.codec_context.sample_aspect_ratio = self._pixel_aspect
        self._stream = stream
        if self._sound_of is not None:
            self._sound = self._stack.enter_context(SoundCopy(self._sound_of, self._container))

    def _finish(self) -> None:
        if self._stream is None:
            raise VideoError(f"{self.path}: no frame to write; no file was created")
        self._container.mux(self._stream.encode())
        if self._sound is not None:
            end = self._last_tick * self._tick + 1 / self._rate
            self._sound.copy_until(end if self.cut_short else None)
            self._sound.finish()


def check_suffix(path: Path) -> None:
    """Raise VideoError unless the suffix is one of CONTAINERS."""
    if path.suffix.lower() not in CONTAINERS:
        raise VideoError(f"{path}: unsupported video suffix; expected {' or '.join(CONTAINERS)}.")


def _even(image: Pixels) -> Pixels:
    """Pad odd sides by repeating the last row or column: 4:2:0 H.264 requires even sides."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(image)
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
