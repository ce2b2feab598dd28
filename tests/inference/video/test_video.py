"""Video files in and out, in real files that PyAV makes here."""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lookonce.cli.main import main
from lookonce.errors import LookonceError
from lookonce.inference import Detector
from lookonce.inference.video import Frame, VideoError, VideoFile, VideoWriter

WIDTH, HEIGHT = 192, 128
RATE = Fraction(10)
CORNERS = {"red": (220, 30, 40), "green": (30, 200, 40), "blue": (30, 40, 210), "white": (235, 235, 235)}


@pytest.fixture(scope="session", autouse=True)
def av(need):
    return need("av")


def quarters(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Red, green / blue, white: every turn and mirroring of it looks different."""
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = CORNERS["red"]
    image[: height // 2, width // 2 :] = CORNERS["green"]
    image[height // 2 :, : width // 2] = CORNERS["blue"]
    image[height // 2 :, width // 2 :] = CORNERS["white"]
    return image


def make_clip(av, path: Path, frames: int = 30, sound: str | None = None, turn=None, options=None) -> Path:
    """A clip with a white bar that moves, and a tone."""
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream("libx264", rate=RATE, options={"g": "5", "bf": "0"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if turn:
            video.set_display_rotation(**turn)
        audio = container.add_stream(sound, rate=44100, layout="stereo", **_lenient(sound)) if sound else None
        rng = np.random.default_rng(0)
        for number in range(frames):
            image = quarters()
            # Noise makes frames large enough to be damaged.
            image[40:80, 40:80] = rng.integers(0, 256, (40, 40, 3), np.uint8)
            image[:, 4 * number : 4 * number + 4] = 255
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        if audio is not None:
            write_tone(av, container, audio, seconds=frames / float(RATE))
    return path


def _lenient(sound: str) -> dict[str, dict[str, str]]:
    return {"options": {"strict": "experimental"}} if sound == "vorbis" else {}


def write_tone(av, container, audio, seconds: float) -> None:
    wave = np.sin(np.arange(int(seconds * 44100)) * (2 * np.pi * 440 / 44100)).astype(np.float32) * 0.3
    resampler = av.AudioResampler(format=audio.format, layout="stereo", rate=44100)
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 44100, 0, Fraction(1, 44100)
    fifo = av.AudioFifo()
    for piece in resampler.resample(frame):
        fifo.write(piece)
    size = audio.codec_context.frame_size or 1024
    while (block := fifo.read(size)) is not None:
        container.mux(audio.encode(block))
    container.mux(audio.encode())


def at_front(av, source: Path, target: Path) -> bytes:
    """The same packets with the index in front, as cameras' and the net's files have it."""
    with (
        av.open(str(source)) as read,
        av.open(str(target), "w", options={"movflags": "+faststart"}) as written,
    ):
        streams = {stream.index: written.add_stream_from_template(stream) for stream in read.streams}
        for packet in read.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                written.mux(packet)
    return target.read_bytes()


def frames_of(path: Path, messages: list[str] | None = None) -> list[Frame]:
    return list(VideoFile(str(path), (messages if messages is not None else []).append))


def near(pixels: NDArray[np.uint8], colour: str) -> bool:
    """Whether the pixels have a colour of quarters(), but for the codec's rounding."""
    return bool(np.abs(pixels.astype(int) - CORNERS[colour]).max() < 16)


def packets_of(av, path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_colours_count_and_times_survive_reading_and_writing(av, tmp_path: Path, ending: str):
    # A variable rate, with times off any 25 fps grid.
    times = [Fraction(tick, 90_000) for tick in (0, 3_000, 4_500, 40_000, 40_001, 99_999)]
    target = tmp_path / f"out{ending}"
    with VideoWriter(target, RATE) as writer:
        for number, time in enumerate(times):
            writer.write(Frame(quarters(), number, time))
    read = frames_of(target)
    assert [frame.time for frame in read] == times
    for frame in read:
        for colour, pixel in zip(CORNERS, _corners(frame.image), strict=True):
            assert near(pixel, colour), colour
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    with av.open(str(target)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].format.name == "yuv420p"


def _corners(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [image[8, 8], image[8, -8], image[-8, 8], image[-8, -8]]


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_phones_rotation_is_applied(av, tmp_path: Path, degrees: int, mirrored: bool):
    turned = make_clip(av, tmp_path / "turned.mp4", 3, turn={"degrees": degrees, "hflip": mirrored})
    image = frames_of(turned)[0].image
    if not mirrored:
        expected = np.rot90(quarters(), degrees // 90)
        assert image.shape == expected.shape
        for pixel, expected_pixel in zip(_corners(image), _corners(expected), strict=True):
            assert np.abs(pixel.astype(int) - expected_pixel).max() < 16
    if shutil.which("ffmpeg"):
        # The ffmpeg program rotates by itself; it is the reference for mirrored images.
        command = ["ffmpeg", "-v", "error", "-i", str(turned), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        raw = subprocess.run(command, capture_output=True, check=True).stdout
        theirs = np.frombuffer(raw, np.uint8)[: image.size].reshape(image.shape)
        assert np.abs(theirs.astype(int) - image).mean() < 3


def test_odd_sizes_are_written_whole(tmp_path: Path):
    target = tmp_path / "odd.mp4"
    with VideoWriter(target, RATE) as writer:
        writer.write(Frame(quarters(101, 67), 0, Fraction(0)))
    image = frames_of(target)[0].image
    assert image.shape == (68, 102, 3)
    assert near(image[-1, -1], "white")


def test_wide_pixels_stay_wide(av, tmp_path: Path):
    with VideoWriter(tmp_path / "wide.mp4", RATE, pixel_aspect=Fraction(16, 15)) as writer:
        writer.write(Frame(quarters(), 0, Fraction(0)))
    assert VideoFile(str(tmp_path / "wide.mp4"), print).pixel_aspect == Fraction(16, 15)


@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_sound_is_copied_packet_by_packet(av, tmp_path: Path, ending: str):
    source = make_clip(av, tmp_path / "tone.mp4", sound="aac")
    target = tmp_path / f"copy{ending}"
    copy(source, target)
    assert packets_of(av, target, "audio") == packets_of(av, source, "audio")


def copy(source: Path, target: Path, frames: int | None = None) -> None:
    video = VideoFile(str(source), print)
    sound = video.source if video.has_audio else None
    with VideoWriter(target, video.rate, video.time_base, sound_of=sound) as writer:
        for frame in list(video)[:frames]:
            writer.write(frame)
        writer.cut_short = frames is not None


def test_sound_that_the_container_cannot_hold_becomes_aac(av, tmp_path: Path):
    source = make_clip(av, tmp_path / "tone.mkv", sound="vorbis")
    target = tmp_path / "out.mov"
    copy(source, target)
    with av.open(str(target)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "aac"
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])
    assert abs(len(heard) / 44100 - 3) < 0.1
    spectrum = np.abs(np.fft.rfft(heard[4410:48510]))
    assert abs(int(spectrum.argmax()) - 440) <= 1


def test_a_cut_video_has_cut_sound(av, tmp_path: Path):
    source = make_clip(av, tmp_path / "tone.mp4", sound="aac")
    target = tmp_path / "cut.mp4"
    copy(source, target, frames=10)
    with av.open(str(target)) as container:
        assert abs(container.duration / 1e6 - 1) < 0.1


def test_images_and_sound_stay_together_when_the_clock_starts_late(av, tmp_path: Path):
    # MPEG-TS clocks start at arbitrary times.
    source = make_clip(av, tmp_path / "late.ts", sound="aac")
    target = tmp_path / "out.mp4"
    copy(source, target)
    with av.open(str(target)) as container:
        starts = [float(stream.start_time * stream.time_base) for stream in container.streams]
    assert max(starts) < 0.1
    assert len(frames_of(target)) == 30


def test_a_truncated_file_is_read_as_far_as_it_goes(av, tmp_path: Path):
    whole = at_front(av, make_clip(av, tmp_path / "a.mp4"), tmp_path / "b.mp4")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: int(len(whole) * 0.6)])
    messages: list[str] = []
    video = VideoFile(str(cut), messages.append)
    read = list(video)
    assert 10 < len(read) < 25
    assert video.truncated
    assert "ends early" in messages[-1]
    assert "of 30 frames" in messages[-1]


def test_a_truncated_matroska_file_is_noticed_by_its_length(av, tmp_path: Path):
    whole = make_clip(av, tmp_path / "a.mkv", frames=60).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 2])
    video = VideoFile(str(cut), [].append)
    assert list(video)
    assert video.truncated


def test_broken_frames_are_named_and_left_out(av, tmp_path: Path):
    data = bytearray(at_front(av, make_clip(av, tmp_path / "a.mp4"), tmp_path / "b.mp4"))
    start = data.find(b"mdat")
    middle = start + (len(data) - start) // 2
    data[middle : middle + 6000] = bytes(6000)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    messages: list[str] = []
    video = VideoFile(str(broken), messages.append)
    read = list(video)
    assert video.broken > 0
    assert not video.truncated
    assert len(read) + video.broken >= 29
    assert str(broken) in messages[0]
    # The key frame after the damage repairs the stream; timestamps continue unchanged.
    assert read[-1].time == Fraction(29, 10)
    assert near(read[-1].image[8, -8], "green")


@pytest.mark.parametrize("kind", ["missing", "text", "no index", "sound only"])
def test_what_is_no_video_is_reported(av, tmp_path: Path, kind: str):
    path = tmp_path / "clip.mp4"
    if kind == "text":
        path.write_text("no video" * 100)
    elif kind == "no index":
        path.write_bytes(make_clip(av, tmp_path / "a.mp4").read_bytes()[:3000])
    elif kind == "sound only":
        with av.open(str(path), "w") as container:
            write_tone(av, container, container.add_stream("aac", rate=44100, layout="stereo"), 1)
    with pytest.raises(VideoError, match=str(path)) as error:
        frames_of(path)
    expected = {
        "missing": "no such file",
        "text": "not a video",
        "no index": "index",
        "sound only": "no video stream",
    }
    assert expected[kind] in str(error.value)


def test_a_failed_writing_leaves_the_old_file(tmp_path: Path):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"before")

    def fail() -> None:
        with VideoWriter(target, RATE) as writer:
            writer.write(Frame(quarters(), 0, Fraction(0)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(VideoError, match="no frame"), VideoWriter(target, RATE):
        pass
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_reported(small_disk: Path):
    rng = np.random.default_rng(0)

    def fill() -> None:
        with VideoWriter(small_disk / "out.mp4", RATE) as writer:
            for number in range(60):
                noise = rng.integers(0, 256, (360, 640, 3), np.uint8)
                writer.write(Frame(noise, number, Fraction(number, 10)))

    with pytest.raises(LookonceError, match=r"cannot write .*out\.mp4"):
        fill()
    assert not list(small_disk.iterdir())


def model_of(shared: Path) -> list[str]:
    cfg = shared / "weights" / "yolo-fastest" / "yolo-fastest-1.1-xl.cfg"
    names = shared / "weights" / "cfg" / "coco.names"
    return [str(cfg), "--weights", str(cfg.with_suffix(".weights")), "--classes", str(names)]


def test_each_frames_line_says_what_the_frame_alone_gives(shared: Path, tmp_path: Path, capsys):
    model, *options = model_of(shared)
    clip = shared / "video" / "one-by-one-person-detection.mp4"
    out, found = tmp_path / "out.mp4", tmp_path / "found.jsonl"
    files = ["--output", str(out), "--json", str(found), "--max-frames", "70", "--track"]
    assert main(["detect", model, str(clip), *options, *files]) == 0
    lines = [json.loads(line) for line in found.read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(70))
    assert [line["seconds"] for line in lines] == [round(number / 10, 6) for number in range(70)]
    written = frames_of(out)
    assert len(written) == 70

    detector = Detector(model, weights=options[1], classes=options[3])
    read = VideoFile(str(clip), print)
    for frame, line in zip(read, lines, strict=False):
        if frame.number % 10:
            continue
        alone = detector.detect(frame.image).to_dict(clip.name)
        sure = [one for one in line["boxes"] if one["score"] > 0.3]
        assert [one["label"] for one in sure] == [one["label"] for one in alone["boxes"]]
        for one, other in zip(sure, alone["boxes"], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)
        # Frames are changed only where there are detections.
        changed = np.abs(written[frame.number].image.astype(int) - frame.image).max()
        assert (changed > 100) == bool(line["boxes"])
    people = {box["track"] for line in lines for box in line["boxes"] if box["label"] == "person"}
    assert people - {None} == {1}
    printed = capsys.readouterr().out
    assert "70 frames" in printed
    assert all(stage in printed for stage in ("read", "detect", "track", "draw", "write", "end to end"))
    assert "objects" in printed


def test_a_truncated_clip_is_drawn_as_far_as_it_goes_with_exit_1(av, shared: Path, tmp_path: Path, capsys):
    model, *options = model_of(shared)
    whole = at_front(av, make_clip(av, tmp_path / "a.mp4"), tmp_path / "b.mp4")
    cut, out = tmp_path / "cut.mp4", tmp_path / "drawn"
    cut.write_bytes(whole[: int(len(whole) * 0.6)])
    assert main(["detect", model, str(cut), *options, "--output", str(out)]) == 1
    printed = capsys.readouterr()
    assert "ends early" in printed.err
    assert "ends early" in printed.out
    assert 10 < len(frames_of(out / "cut.mp4")) < 25
    if shutil.which("ffprobe"):
        command = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames"]
        probed = subprocess.run([*command, str(out / "cut.mp4")], capture_output=True, text=True, check=True)
        assert probed.stderr == ""


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--output", "out.avi"], ".mp4 or .mov"),
        (["--seconds", "3"], "--max-frames"),
        (["--output", "clip.mp4"], "overwrite"),
    ],
)
def test_wrong_flags_are_named(av, tmp_path: Path, monkeypatch, capsys, more: list[str], expected: str):
    make_clip(av, tmp_path / "clip.mp4", 3)
    monkeypatch.chdir(tmp_path)
    assert main(["detect", "model.onnx", "clip.mp4", *more]) == 1
    assert expected in capsys.readouterr().err


def test_video_flags_on_images_are_refused(tmp_path: Path, capsys):
    assert main(["detect", "model.onnx", str(tmp_path), "--track"]) == 1
    assert "--track" in capsys.readouterr().err
