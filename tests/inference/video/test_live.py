"""Live sources read from a streaming server, and the camera reader from a file."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lookonce.cli.main import main
from lookonce.inference.video import Frame, LiveSource, VideoError, VideoFile, VideoWriter
from lookonce.inference.video.live import open_camera, without_password
from lookonce.inference.video.window import Window

pytestmark = pytest.mark.slow

# Streams an image like a network camera (multipart JPEG, 50 per second). Arguments: the port, the image's
# path, and after how many images to drop a connection (0: never).
SERVER = """
import http.server, pathlib, sys, time
port, image, most = int(sys.argv[1]), pathlib.Path(sys.argv[2]).read_bytes(), int(sys.argv[3])

class Camera(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path != "/stream":
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        sent = 0
        while not most or sent < most:
            head = f"--next\\r\\nContent-Type: image/jpeg\\r\\nContent-Length: {len(image)}\\r\\n\\r\\n"
            try:
                self.wfile.write(head.encode() + image + b"\\r\\n")
            except OSError:
                return
            sent += 1
            time.sleep(0.02)

class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True

Server(("127.0.0.1", port), Camera).serve_forever()
"""

Serve = Callable[[int], subprocess.Popen]


@pytest.fixture(scope="module", autouse=True)
def av(need):
    return need("av")


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def serve(shared: Path, port: int) -> Iterator[Serve]:
    """Start the server; `serve(25)` drops each connection after 25 images."""
    started: list[subprocess.Popen] = []

    def start(most: int) -> subprocess.Popen:
        image = shared / "images" / "dog.jpg"
        server = subprocess.Popen([sys.executable, "-c", SERVER, str(port), str(image), str(most)])
        started.append(server)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return server
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the server did not start")

    yield start
    for server in started:
        server.kill()
        server.wait()


def model_of(shared: Path) -> list[str]:
    cfg = shared / "weights" / "yolo-fastest" / "yolo-fastest-1.1.cfg"
    names = shared / "weights" / "cfg" / "coco.names"
    return [str(cfg), "--weights", str(cfg.with_suffix(".weights")), "--classes", str(names)]


def test_a_stream_resumes_when_its_server_restarts(serve: Serve, port: int):
    server = serve(0)
    messages: list[str] = []

    def report(message: str) -> None:
        messages.append(message)
        if len(messages) == 1:
            server.kill()  # harmless if it is gone already
        elif len(messages) == 2:
            serve(0)

    source = LiveSource(f"http://127.0.0.1:{port}/stream", report, seconds=60)
    for received, frame in enumerate(source, start=1):
        assert frame.image.shape == (576, 768, 3)
        if received == 5:
            server.kill()
            server.wait()
        if messages and messages[-1].endswith("reconnected"):
            break
    # The connection is lost, then refused for 1, 2 and 4 seconds; the waits are reported.
    waits = [one.rpartition(" in ")[2] for one in messages[:-1]]
    assert waits == ["1 s", "2 s", "4 s"][: len(waits)]
    assert len(waits) >= 2
    assert source.drops == 1


def test_a_lost_connection_is_reported_and_reopened(serve: Serve, port: int):
    serve(25)
    messages: list[str] = []
    source = LiveSource(f"http://user:secret@127.0.0.1:{port}/stream", messages.append, seconds=20)
    received = 0
    for frame in source:
        received += 1
        if frame.number > 40:
            break
    assert source.drops >= 1
    assert "lost" in messages[0]
    assert "retrying in 1 s" in messages[0]
    assert messages[1].endswith("reconnected")
    assert "secret" not in "".join(messages)
    # Frame numbers include skipped frames, so that none is counted twice.
    assert received + source.skipped == frame.number + 1


def test_a_slow_reader_gets_the_newest_frame(serve: Serve, port: int):
    serve(0)
    source = LiveSource(f"http://127.0.0.1:{port}/stream", print, seconds=60)
    frames: list[Frame] = []
    for frame in source:
        frames.append(frame)
        time.sleep(0.3)
        if len(frames) == 6:
            break
    assert source.skipped > 20
    # The reader slept for 1.5 s in all; frames read one after the other would be less than 0.3 s apart.
    assert frames[-1].time - frames[0].time > 0.75


def test_a_stream_through_the_command_line_ends_after_its_seconds(
    serve: Serve, port: int, shared: Path, tmp_path: Path, capsys
):
    serve(30)
    model, *options = model_of(shared)
    out, found = tmp_path / "out.mp4", tmp_path / "found.jsonl"
    address = f"http://127.0.0.1:{port}/stream"
    files = ["--output", str(out), "--json", str(found), "--seconds", "4"]
    assert main(["detect", model, address, *options, *files]) == 0
    printed = capsys.readouterr()
    assert "lost" in printed.err
    assert "connection loss" in printed.out
    lines = [json.loads(line) for line in found.read_text().splitlines()]
    written = list(VideoFile(str(out), print))
    assert len(lines) == len(written) > 10
    # Gaps in the numbers are skipped frames; the video keeps the arrival time of each frame.
    # The video starts at its first frame, which need not be the first one that the server sent.
    duration = lines[-1]["seconds"] - lines[0]["seconds"]
    assert duration == pytest.approx(float(written[-1].time - written[0].time), abs=0.001)
    assert {box["label"] for line in lines for box in line["boxes"]} >= {"dog"}


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a group of processes, this one too")
def test_ctrl_c_finishes_the_files(serve: Serve, port: int, shared: Path, tmp_path: Path):
    serve(0)
    out, found = tmp_path / "out.mp4", tmp_path / "found.jsonl"
    command = [sys.executable, "-m", "lookonce", "detect", *model_of(shared)]
    command.insert(5, f"http://127.0.0.1:{port}/stream")
    run = subprocess.Popen(
        [*command, "--output", str(out), "--json", str(found), "--track"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    limit = time.monotonic() + 60
    # More than the header: frames have been encoded.
    while not any(path.suffix == ".mp4" and path.stat().st_size > 1000 for path in tmp_path.iterdir()):
        assert run.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    printed, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    assert "frames/s" in printed
    assert len(list(VideoFile(str(out), print))) == len(found.read_text().splitlines()) > 3


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a group of processes, this one too")
def test_ctrl_c_on_a_file_leaves_nothing_half_done(shared: Path, tmp_path: Path):
    command = [sys.executable, "-m", "lookonce", "detect", *model_of(shared)]
    command.insert(5, str(shared / "video" / "one-by-one-person-detection.mp4"))
    files = ["--output", str(tmp_path / "out.mp4"), "--json", str(tmp_path / "found.jsonl")]
    run = subprocess.Popen([*command, *files], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    run.stdout.readline()
    time.sleep(1)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["nothing", "stream"])
def test_a_wrong_address_is_an_error_at_once(serve: Serve, port: int, path: str):
    if path == "nothing":
        serve(0)
    with pytest.raises(VideoError, match=r"127\.0\.0\.1"):
        next(iter(LiveSource(f"http://127.0.0.1:{port}/{path}", print, seconds=5)))


def test_a_missing_camera_is_an_error_at_once(capfd):
    with pytest.raises(VideoError, match="camera 97"):
        next(iter(LiveSource("97", print, seconds=5)))
    assert capfd.readouterr().err == ""


def test_a_cameras_colours_are_rgb(tmp_path: Path):
    clip = tmp_path / "red.mp4"
    red = np.full((64, 64, 3), (220, 30, 40), np.uint8)
    with VideoWriter(clip, Fraction(10)) as writer:
        for number in range(3):
            writer.write(Frame(red, number, Fraction(number, 10)))
    # OpenCV opens a file like a camera, and returns BGR for both.
    pixels = next(open_camera(str(clip)))
    assert np.abs(pixels.astype(int) - (220, 30, 40)).max() < 16


def test_passwords_are_not_shown():
    assert without_password("rtsp://me:a@b@cam.local:554/1?x=@") == "rtsp://cam.local:554/1?x=@"
    assert without_password("http://cam.local/a@b") == "http://cam.local/a@b"


# In a separate process: Tk exits when its screen goes away.
WINDOW = """
import numpy as np
from lookonce.inference.video.window import Window

with Window("test") as window:
    # Wider than the screen: shrunk, not cropped.
    window.show(np.full((700, 1600, 3), (220, 30, 40), np.uint8))
    root = window._root
    assert 600 < root.winfo_width() <= 800
    assert not window.closed
    root.focus_force()
    root.update()
    root.event_generate("<Key>", keysym="q")
    window.show(np.zeros((70, 160, 3), np.uint8))
    assert window.closed
"""


def test_a_window_shows_frames_and_closes_with_q(display: dict[str, str], need):
    need("tkinter")
    done = subprocess.run([sys.executable, "-c", WINDOW], env=display, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_show_plays_a_clip(display: dict[str, str], shared: Path, need):
    need("tkinter")
    model, *options = model_of(shared)
    clip = str(shared / "video" / "car-detection.mp4")
    command = [sys.executable, "-m", "lookonce", "detect", model, clip, *options]
    more = ["--show", "--max-frames", "12", "--output", "none"]
    done = subprocess.run([*command, *more], env=display, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "show" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a screen")
def test_show_without_a_screen_is_reported(monkeypatch, need):
    need("tkinter")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(VideoError, match="without it"):
        Window("test")
