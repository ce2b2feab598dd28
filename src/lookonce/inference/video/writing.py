"""Video out: H.264 in .mp4 or .mov with the source's times and sound, whole or not at all."""

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
# What MPEG-TS and players count in; used where a source has no clock of its own, or an odd one.
_TICK = Fraction(1, 90_000)
_BT709 = 1
_LIMITED_RANGE = 1


class VideoWriter:
    """`with VideoWriter(path, rate=25) as writer: writer.write(frame)`.

    The file appears under its name when the block ends without error. Every frame keeps its time, also where
    the rate varies. With `cut_short` set, the sound ends with the last frame. Raises VideoError for an ending
    other than .mp4 and .mov, LookonceError for a full disk.
    """

    def __init__(
        self,
        path: Path,
        rate: Fraction,
        time_base: Fraction = _TICK,
        pixel_aspect: Fraction | None = None,
        sound_of: str | None = None,
    ) -> None:
        """`rate` frames a second (the average), `time_base` seconds a tick, `sound_of` a file to copy."""
        check_ending(path)
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
            # The index goes to the front, so that a browser plays the file while it loads.
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
        """Encode one frame; one of another size than the first is stretched to that."""
        if self._stream is None:
            self._start(frame.image)
        tick = max(round(frame.time / self._tick), self._last_tick + 1)
        self._last_tick = tick
        encodable = pyav().VideoFrame.from_ndarray(_even(frame.image), format="rgb24")
        # BT.709 is written, and said, for every size: what players do with untagged video differs.
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
                "this build of PyAV can't encode H.264 (no libx264); install it from PyPI: pip install av"
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
            raise VideoError(f"{self.path}: no frame to write; the file isn't made")
        self._container.mux(self._stream.encode())
        if self._sound is not None:
            end = self._last_tick * self._tick + 1 / self._rate
            self._sound.copy_until(end if self.cut_short else None)
            self._sound.finish()


def check_ending(path: Path) -> None:
    """Raise VideoError unless H.264 can be written under this name."""
    if path.suffix.lower() not in CONTAINERS:
        raise VideoError(f"--output {path}: a video is written as {' or '.join(CONTAINERS)}; name it so.")


def _even(image: Pixels) -> Pixels:
    """H.264 with halved colour wants even sides: an odd one gets its last row or column twice."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(image)
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
