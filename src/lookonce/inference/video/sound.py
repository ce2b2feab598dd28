"""Copy a video's sound to the file that is being written."""

from __future__ import annotations

from collections.abc import Generator
from fractions import Fraction
from types import TracebackType
from typing import Any

from lookonce.inference.video.frame import pyav
from lookonce.inference.video.reading import start_of


class SoundCopy:
    """Copy the audio streams of `source` packet by packet; re-encode as AAC if the container requires it.

    The source is opened separately from the images, so that neither waits for the other.
    """

    def __init__(self, source: str, target: Any) -> None:
        """Add the streams to `target`, an open PyAV output that nothing was written to yet."""
        self._target = target
        self._source = pyav().open(source, metadata_errors="replace", timeout=30)
        self._start = start_of(self._source)
        self._streams: dict[int, Any] = {}
        self._recoded: dict[int, Any] = {}
        for stream in self._source.streams.audio:
            self._add(stream)
        self._packets = self._read()
        self._next: Any = next(self._packets, None)

    def __enter__(self) -> SoundCopy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._packets.close()
        self._source.close()

    def copy_until(self, time: Fraction | None) -> None:
        """Write the sound up to `time`, in seconds from the start of the source; None: all of it."""
        while self._next is not None:
            packet = self._next
            if time is not None and packet.dts * packet.time_base - self._start > time:
                return
            self._write(packet)
            self._next = next(self._packets, None)

    def finish(self) -> None:
        """Flush the encoders."""
        for index, resampler in self._recoded.items():
            stream = self._streams[index]
            for frame in resampler.resample(None):
                self._target.mux(stream.encode(frame))
            self._target.mux(stream.encode())

    def _add(self, stream: Any) -> None:
        if stream.codec_context is None:
            return
        if stream.codec_context.name in self._target.supported_codecs:
            self._streams[stream.index] = self._target.add_stream_from_template(stream)
            return
        context = stream.codec_context
        recoded = self._target.add_stream("aac", rate=context.sample_rate)
        recoded.layout = "stereo" if context.layout.nb_channels > 1 else "mono"
        self._streams[stream.index] = recoded
        self._recoded[stream.index] = pyav().AudioResampler(
            format="fltp", layout=recoded.layout, rate=context.sample_rate, frame_size=1024
        )

    def _read(self) -> Generator[Any]:
        av = pyav()
        if not self._streams:
            return
        packets = self._source.demux([self._source.streams[index] for index in self._streams])
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                # Timestamps after damaged data are unreliable.
                return
            if packet.dts is not None:
                yield packet

    def _write(self, packet: Any) -> None:
        index, stream = packet.stream.index, self._streams[packet.stream.index]
        shift = round(self._start / packet.time_base)
        if index not in self._recoded:
            packet.dts -= shift
            packet.pts = packet.dts if packet.pts is None else packet.pts - shift
            packet.stream = stream
            self._target.mux(packet)
            return
        try:
            decoded = packet.decode()
        except pyav().FFmpegError:
            return
        for frame in decoded:
            if frame.pts is not None:
                frame.pts -= shift
            for piece in self._recoded[index].resample(frame):
                self._target.mux(stream.encode(piece))
