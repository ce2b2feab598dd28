"""`lookonce score` against services that are busy, gone, slow, somewhere else, or none at all."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lookonce.cli.main import main
from requirements import missing

pytestmark = pytest.mark.slow

KEY = "a-key-that-nobody-else-gets"
GOOD = json.dumps(
    [
        {
            "filename": "image_0",
            "width": 100,
            "height": 50,
            "boxes": [
                {
                    "label": "dog",
                    "score": 0.9,
                    "box": {"topX": 0.1, "topY": 0.2, "bottomX": 0.5, "bottomY": 1.0},
                }
            ],
        }
    ]
).encode()

Play = Callable[[BaseHTTPRequestHandler], None]


class Scripted(ThreadingHTTPServer):
    """A service that plays its part: one function a request, the last again and again."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *parts: Play, port: int = 0) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.times: list[float] = []
        scripted, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    turn = len(scripted.requests)
                    scripted.requests.append((self.path, dict(self.headers), body))
                    scripted.times.append(time.monotonic())
                parts[min(turn, len(parts) - 1)](self)

        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def says(status: int, body: bytes = b'{"error": "some reason"}', **headers: str) -> Play:
    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        sent = {"content_type": "application/json", "content_length": str(len(body)), **headers}
        for name, value in sent.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return play


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def trickles(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" ")
            time.sleep(0.05)
    except OSError:
        return


@pytest.fixture
def image(shared: Path) -> str:
    return str(shared / "images" / "dog.jpg")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCORING_URI", raising=False)
    monkeypatch.setenv("WEBSERVICE_KEY", KEY)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def score(service: Scripted | str, *arguments: str) -> int:
    url = service if isinstance(service, str) else service.url
    return main(["score", *arguments, "--uri", url])


def test_the_file_is_sent_unchanged_with_key_type_thresholds_and_deployment(image: str, shared: Path):
    png = str(shared / "images" / "dog.jpg")
    with Scripted(says(200, GOOD)) as service:
        assert score(service, png, "--conf", "0.25", "--iou", "0.5", "--deployment", "blue") == 0
        ((path, headers, body),) = service.requests
    assert path == "/score?conf=0.25&iou=0.5"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Content-Type"] == "image/jpeg"
    assert headers["azureml-model-deployment"] == "blue"
    assert body == Path(png).read_bytes()


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_service_is_retried_after_its_retry_after(image: str, status: int):
    with Scripted(says(status, Retry_After="1"), says(200, GOOD)) as service:
        assert score(service, image) == 0
        first, second = service.times
    assert 1 <= second - first < 30


def test_retry_after_may_be_a_date(image: str):
    with Scripted(
        says(503, Retry_After=formatdate(time.time() + 2, usegmt=True)), says(200, GOOD)
    ) as service:
        assert score(service, image) == 0
        first, second = service.times
    assert 0.9 < second - first < 30


def test_without_a_time_the_waits_grow(image: str, capsys: pytest.CaptureFixture[str]):
    with Scripted(says(503)) as service:
        assert score(service, image, "--retries", "3") == 1
        waits = [after - before for before, after in zip(service.times, service.times[1:], strict=False)]
    assert len(waits) == 3
    for attempt, wait in enumerate(waits):
        assert 0.125 * 2**attempt <= wait < 0.25 * 2**attempt + 10
    assert "dog.jpg: the service is busy (503: some reason)" in capsys.readouterr().err


def test_no_wait_goes_beyond_the_timeout(image: str):
    with Scripted(says(503, Retry_After="3600")) as service:
        started_at = time.monotonic()
        assert score(service, image, "--timeout", "120") == 1
        assert time.monotonic() - started_at < 60
        assert len(service.requests) == 1


@pytest.mark.parametrize("status", [400, 408, 413, 415, 422, 500])
def test_other_refusals_are_final(image: str, status: int, capsys: pytest.CaptureFixture[str]):
    with Scripted(says(status)) as service:
        assert score(service, image) == 1
        assert len(service.requests) == 1
    assert f"returned {status}: some reason." in capsys.readouterr().err


def test_a_dropped_connection_is_tried_again(image: str):
    with Scripted(hangs_up, says(200, GOOD)) as service:
        assert score(service, image) == 0
        assert len(service.requests) == 2


def test_an_unreachable_service_is_reported_once_with_the_command(
    shared: Path, free_port: int, capsys: pytest.CaptureFixture[str]
):
    assert score(f"127.0.0.1:{free_port}", str(shared / "images"), "--retries", "1") == 1
    printed = capsys.readouterr().err
    assert printed.count("lookonce: ") == 1
    assert f"http://127.0.0.1:{free_port}/score (connection refused, 2 attempts)" in printed
    assert "lookonce serve MODEL" in printed


def test_a_service_that_starts_meanwhile_is_reached(image: str, free_port: int):
    started: list[Scripted] = []
    timer = threading.Timer(0.4, lambda: started.append(Scripted(says(200, GOOD), port=free_port)))
    timer.start()
    assert score(f"127.0.0.1:{free_port}", image, "--retries", "8") == 0
    timer.join()
    started[0].__exit__()


def test_no_such_host_is_reported(image: str, capsys: pytest.CaptureFixture[str]):
    assert score("http://nowhere.invalid", image) == 1
    assert "no such host" in capsys.readouterr().err


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_receives_neither_key_nor_image(
    image: str, status: int, capsys: pytest.CaptureFixture[str]
):
    with Scripted(says(200, GOOD)) as other:
        target = other.url.replace("http://", "http://user:secret@") + "/score?sig=secret"
        with Scripted(says(status, Location=target)) as service:
            assert score(service, image) == 1
        assert not other.requests
    printed = capsys.readouterr().err
    assert f"{other.url}/score" in printed
    assert "secret" not in printed


def test_a_page_is_not_mistaken_for_a_service(image: str, capsys: pytest.CaptureFixture[str]):
    with Scripted(says(200, b"<!doctype html><p>Welcome", content_type="text/html")) as service:
        assert score(service, image) == 1
    assert "detections (text/html)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"[" * 100_000,
        GOOD.replace(b"0.9", b"NaN"),
        GOOD.replace(b"100", b"-1"),
        GOOD[:-1] + b"," + GOOD[1:],
    ],
    ids=["object", "empty", "nest", "nan", "negative", "two"],
)
def test_other_json_is_rejected(image: str, body: bytes, capsys: pytest.CaptureFixture[str]):
    with Scripted(says(200, body)) as service:
        assert score(service, image) == 1
    assert "did not return detections" in capsys.readouterr().err


def test_control_characters_are_not_printed(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(shared / "images" / "dog.jpg", tmp_path / name)
    evil = GOOD.replace(b'"dog"', rb'"do\u001b[2Jg\u202e"')
    with Scripted(says(422, rb'{"error": "a\u001b]0;b\u0007\nc"}'), says(200, evil)) as service:
        assert score(service, str(tmp_path), "--at-once", "1") == 1
    printed = capsys.readouterr()
    assert "a ]0;b c" in printed.err
    assert "do [2Jg" in printed.out
    assert not {"\x1b", "\x07", "\u202e"} & set(printed.out + printed.err)


def test_an_endless_response_stops_at_the_timeout(image: str, capsys: pytest.CaptureFixture[str]):
    with Scripted(trickles) as service:
        started_at = time.monotonic()
        assert score(service, image, "--timeout", "1") == 1
        assert time.monotonic() - started_at < 60
    assert "no response from" in capsys.readouterr().err


def test_azures_endpoint_passes_on_the_models_status(image: str, capsys: pytest.CaptureFixture[str]):
    wrapped = b'{"error": {"code": "ModelError", "message": "too many"}}'
    behind = "ms_azureml_model_error_statuscode"
    with Scripted(says(424, wrapped, **{behind: "503"}), says(424, wrapped, **{behind: "422"})) as service:
        assert score(service, image) == 1
        assert len(service.requests) == 2
    assert "returned 422: too many" in capsys.readouterr().err


def test_results_remain_when_the_key_expires_midway(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with Scripted(says(200, GOOD), says(200, GOOD), says(401)) as service:
        code = score(
            service, str(shared / "images"), "--at-once", "1", "--json", str(tmp_path / "found.json")
        )
    assert code == 1
    assert len(json.loads((tmp_path / "found.json").read_text())) == 2
    printed = capsys.readouterr()
    assert "rejects the key" in printed.err
    assert "3 images failed" in printed.out


def test_bench_counts_refusals_separately(image: str, capsys: pytest.CaptureFixture[str]):
    with Scripted(says(200, GOOD), says(200, GOOD), says(503)) as service:
        assert score(service, image, "--bench", "--clients", "1", "--seconds", "2", "--json", "-") == 0
    load = json.loads(capsys.readouterr().out)
    assert load["outcomes"]["200"] == 1
    assert 2 <= load["outcomes"]["503"] <= 40


def test_ctrl_c_stops_while_a_request_is_in_flight(image: str):
    with Scripted(trickles) as service:
        process = subprocess.Popen(
            [sys.executable, "-m", "lookonce", "score", image, "--uri", service.url],
            stderr=subprocess.PIPE,
            text=True,
        )
        until = time.monotonic() + 20
        while not service.requests and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=40)
    assert process.returncode == 130
    assert "interrupted" in printed
    assert "Traceback" not in printed


@pytest.fixture
def certificate(tmp_path: Path) -> Iterator[Path]:
    """A certificate for 127.0.0.1 that nobody knows, with its key in the same file."""
    if not shutil.which("openssl"):
        missing("openssl is not installed")
    file = tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=here -addext subjectAltName=IP:127.0.0.1"
    )
    files = ["-keyout", str(file), "-out", str(tmp_path / "only.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    file.write_text(file.read_text() + (tmp_path / "only.pem").read_text())
    return file


def test_tls_is_verified_and_a_private_authority_can_be_configured(
    image: str, certificate: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Scripted(says(200, GOOD)) as service:
        service.socket = context.wrap_socket(service.socket, server_side=True)
        secure = service.url.replace("http://", "https://")
        assert score(secure, image) == 1
        assert "no secure connection" in (printed := capsys.readouterr().err)
        assert "SSL_CERT_FILE" in printed
        assert not service.requests
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("only.pem")))
        assert score(secure, image) == 0
        assert len(service.requests) == 1


def test_https_to_a_plain_service_is_reported(image: str, capsys: pytest.CaptureFixture[str]):
    with Scripted(says(200, GOOD)) as service:
        assert score(service.url.replace("http://", "https://"), image) == 1
    assert "does not use TLS" in capsys.readouterr().err


def test_sending_a_key_over_plain_http_prints_a_warning(image: str, capsys: pytest.CaptureFixture[str]):
    assert score("http://nowhere.invalid", image) == 1
    printed = capsys.readouterr().err
    assert "unencrypted" in printed
    assert KEY not in printed


def test_a_proxy_of_the_environment_is_used_except_for_this_machine(
    image: str, monkeypatch: pytest.MonkeyPatch
):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Scripted(says(200, GOOD)) as proxy, Scripted(says(200, GOOD)) as service:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert score("http://somewhere.invalid/score", image) == 0
        assert [path for path, _, _ in proxy.requests] == ["http://somewhere.invalid/score"]
        assert score(service, image) == 0
        assert len(service.requests) == 1
