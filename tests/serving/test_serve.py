"""`lookonce serve` as processes: the key, signals, workers, connections that do not behave."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from lookonce.export import export_onnx
from serving_process import RUN, Serving, fastest

JPEG = {"Content-Type": "image/jpeg"}
KEY = "corréct-horse"


@pytest.fixture(scope="module")
def dog(shared: Path) -> bytes:
    return (shared / "images" / "dog.jpg").read_bytes()


@pytest.fixture(scope="module")
def models(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two versions of a model, as ONNX files."""
    folder = tmp_path_factory.mktemp("models")
    model, _, weights, _, classes = fastest(shared)
    for name, resize in (("a", "letterbox"), ("b", "stretch")):
        export_onnx(model, folder / f"{name}.onnx", weights=weights, classes=classes, resize=resize)
    return folder / "a.onnx", folder / "b.onnx"


class Traffic:
    """Clients that send images without a pause, each on one connection, until the block exits."""

    def __init__(self, url: str, image: bytes, clients: int = 4, fresh: bool = False) -> None:
        self._url, self._image, self._fresh = url, image, fresh
        self._end = threading.Event()
        self.statuses: list[int] = []
        self.broken: list[Exception] = []
        self.versions: set[str] = set()
        self._threads = [threading.Thread(target=self._send_images) for _ in range(clients)]

    def _send_images(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._end.is_set():
                try:
                    response = client.post(f"{self._url}/score", content=self._image, headers=JPEG)
                    self.statuses.append(response.status_code)
                    self.versions.add(response.headers["x-model-version"])
                except httpx.TransportError as error:
                    self.broken.append(error)

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def wait(self, count: int) -> None:
        until, start = time.monotonic() + 60, len(self.statuses)
        while len(self.statuses) < start + count:
            assert time.monotonic() < until
            time.sleep(0.01)


@pytest.fixture(scope="module")
def keyed(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("keyed")
    with Serving(folder, *fastest(shared), "--host", "0.0.0.0", env={"WEBSERVICE_KEY": KEY}) as running:
        running.url = f"http://127.0.0.1:{running.port}"
        yield running


def test_without_the_key_only_the_open_routes_are_accessible(keyed: Serving, dog: bytes):
    def status(path: str, given: str | None = None, method: str = "GET") -> int:
        headers = {} if given is None else {"Authorization": given.encode()}
        return httpx.request(method, keyed.url + path, headers=headers, timeout=30).status_code

    for path in ("/health", "/ready", "/openapi.json", "/v2/health/live", "/v2/health/ready"):
        assert status(path) == 200, path
    closed = (
        "/model",
        "/metrics",
        "/v2",
        "/score",
        "/score/",
        "/v2/models/x",
        "/nothing",
        "/health/",
        "//model",
    )
    for path in closed:
        assert status(path) == 401, path
        assert status(path, method="POST") == 401, path
    for tricky in (
        "/page/../model",
        "/page/%2e%2e/model",
        "/page/..%2fmodel",
        "/page//model",
        "/page/x/../../model",
    ):
        assert status(tricky) in (401, 404), tricky
    basic = base64.b64encode(f"anyone:{KEY}".encode()).decode()
    assert status("/model", f"Bearer {KEY}") == status("/model", f"Basic {basic}") == 200
    wrong = ("Bearer", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", KEY, "Basic ???", "Bearer None")
    for given in wrong:
        assert status("/model", given) == 401, given
    refused = httpx.post(f"{keyed.url}/score", content=dog, headers=JPEG)
    assert refused.headers["www-authenticate"] == "Bearer"
    assert KEY not in keyed.log.read_text() + refused.text


def test_a_large_body_without_a_key_still_gets_its_response(keyed: Serving):
    response = httpx.post(f"{keyed.url}/score", content=b"x" * 6_000_000, headers=JPEG, timeout=30)
    assert response.status_code == 401


def test_other_addresses_require_a_key(shared: Path):
    done = subprocess.run(
        [*RUN, "serve", *map(str, fastest(shared)), "--host", "0.0.0.0", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        env={key: value for key, value in os.environ.items() if key != "WEBSERVICE_KEY"},
    )
    assert done.returncode == 1
    assert "--insecure" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.onnx"], "missing.onnx"),
        (["MODEL", "--max-queue", "0"], "--max-queue is 0"),
        (["MODEL", "--conf", "7"], "--conf is 7"),
        (["MODEL", "--port", "70000"], "70000"),
        (["MODEL", "--workers", "2", "--classes", "missing.names"], "missing.names"),
    ],
)
def test_a_failed_start_reports_why(arguments: list[str], message: str, shared: Path):
    model = list(map(str, fastest(shared)))
    given = [*(model if arguments[0] == "MODEL" else arguments[:1]), *arguments[1:]]
    done = subprocess.run([*RUN, "serve", "--port", "0", *given], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_reported(keyed: Serving, shared: Path):
    done = subprocess.run(
        [*RUN, "serve", *map(str, fastest(shared)), "--port", str(keyed.port)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert f":{keyed.port}: " in done.stderr


def test_health_responds_while_the_model_loads(shared: Path, tmp_path: Path, models: tuple[Path, Path]):
    with Serving(tmp_path, models[0]) as serving:
        assert httpx.get(f"{serving.url}/health").json() == {"status": "alive"}
        assert httpx.get(f"{serving.url}/ready").json()["status"] == "ready"


def test_sigterm_finishes_requests_in_flight(shared: Path, tmp_path: Path, dog: bytes):
    with Serving(tmp_path, *fastest(shared)) as serving:
        statuses: list[int] = []

        def send() -> None:
            files = [("files", (f"{index}.jpg", dog)) for index in range(16)]
            statuses.append(httpx.post(f"{serving.url}/score", files=files, timeout=60).status_code)

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 20
        while "lookonce_queue_images 64" not in httpx.get(f"{serving.url}/metrics").text:
            if statuses:
                break
            assert time.monotonic() < until
        assert serving.stop() == 0
        for thread in threads:
            thread.join()
        assert statuses == [200] * 4
        assert "stopped" in serving.log.read_text()


def test_sighup_changes_the_model_under_load_without_a_failed_request(
    tmp_path: Path, models: tuple[Path, Path], dog: bytes
):
    served = shutil.copy(models[0], tmp_path / "served.onnx")
    with Serving(tmp_path, served) as serving, Traffic(serving.url, dog) as traffic:
        before = httpx.get(f"{serving.url}/ready").json()["version"]
        traffic.wait(20)
        os.replace(shutil.copy(models[1], tmp_path / "new.onnx"), served)
        serving.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 20
        while (after := httpx.get(f"{serving.url}/ready").json()["version"]) == before:
            assert time.monotonic() < until
        traffic.wait(20)
        # An invalid file: the old model stays in use, and the route reports it.
        served.write_bytes(b"no model")
        name = httpx.get(f"{serving.url}/model").json()["name"]
        refused = httpx.post(f"{serving.url}/v2/repository/models/{name}/load", timeout=30)
        assert refused.status_code == 400
        assert f"Still serving version {after}" in refused.json()["error"]
        assert str(tmp_path) not in refused.text
        traffic.wait(20)
    assert set(traffic.statuses) == {200}
    assert not traffic.broken
    assert traffic.versions == {before, after}


def children(serving: Serving) -> list[psutil.Process]:
    """The worker processes, without those that were killed but not yet reaped."""
    found = []
    for child in psutil.Process(serving.process.pid).children():
        with suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_workers_share_the_port_survive_a_kill_and_reload_together(
    tmp_path: Path, models: tuple[Path, Path], dog: bytes
):
    served = shutil.copy(models[0], tmp_path / "served.onnx")
    with Serving(tmp_path, served, "--workers", "2") as serving:
        until = time.monotonic() + 30
        while serving.log.read_text().count('"ready"') < 2:
            assert time.monotonic() < until
            time.sleep(0.1)
        first = {child.pid for child in children(serving)}
        assert len(first) == 2
        with Traffic(serving.url, dog, clients=6) as traffic:
            traffic.wait(30)
            os.kill(min(first), signal.SIGKILL)
            traffic.wait(60)
            until = time.monotonic() + 30
            while len(children(serving)) < 2 or serving.log.read_text().count('"ready"') < 3:
                assert time.monotonic() < until
                time.sleep(0.1)
            broken = len(traffic.broken)
            traffic.wait(30)
            old = httpx.get(f"{serving.url}/ready").json()
            os.replace(shutil.copy(models[1], tmp_path / "new.onnx"), served)
            loaded = httpx.post(f"{serving.url}/v2/repository/models/{old['model']}/load", timeout=30)
            assert loaded.json()["version"] != old["version"]
            until = time.monotonic() + 30
            while serving.log.read_text().count('"model loaded"') < 2:
                assert time.monotonic() < until
                time.sleep(0.1)
            # Requests in flight may still use the old model.
            traffic.wait(20)
            traffic.versions.clear()
            traffic.wait(30)
        assert set(traffic.statuses) == {200}
        # At most one request per client was in the killed worker; the reload broke none.
        assert len(traffic.broken) == broken <= 6
        assert traffic.versions == {loaded.json()["version"]}
        counted = [
            float(line.split()[-1])
            for line in httpx.get(f"{serving.url}/metrics").text.splitlines()
            if line.startswith('lookonce_requests_total{route="/score",status="200"}')
        ]
        # The counts of the killed worker are not lost.
        assert counted == [len(traffic.statuses)]
        assert serving.stop() == 0


def raw(port: int, sent: bytes, wait: float = 15) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        connection.sendall(sent)
        response = b""
        try:
            while part := connection.recv(65536):
                response += part
        except ConnectionResetError:
            pass
        return response


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_malformed_http_is_refused_and_the_connection_is_closed(keyed: Serving, sent: bytes):
    response = raw(keyed.port, sent)
    assert response == b"" or response.startswith((b"HTTP/1.1 400", b"HTTP/1.1 401", b"HTTP/1.1 431"))
    assert httpx.get(f"{keyed.url}/health").status_code == 200


def test_incomplete_headers_time_out(keyed: Serving):
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", keyed.port), timeout=30) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        assert connection.recv(10) == b""
    assert 5 < time.monotonic() - started < 60
    # The same after a first request on the same connection.
    with socket.create_connection(("127.0.0.1", keyed.port), timeout=30) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(20).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /hea")
        started = time.monotonic()
        while connection.recv(4096):
            pass
    assert 5 < time.monotonic() - started < 60


def test_a_slow_body_is_refused(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from dataclasses import replace

    import uvicorn

    from lookonce.serving.server.app import create_app
    from lookonce.serving.server.connection import protocol_options
    from lookonce.serving.server.settings import Settings

    model, _, weights, _, classes = map(str, fastest(shared))
    settings = replace(Settings(model, weights, classes), body_seconds=1.0)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(settings), lifespan="on", **protocol_options()))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        port = listener.getsockname()[1]
        until = time.monotonic() + 30
        while httpx.get(f"http://127.0.0.1:{port}/ready").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.05)
        head = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 99\r\n\r\n"
        assert raw(port, head + b"x").startswith(b"HTTP/1.1 408")
    finally:
        server.should_exit = True
        thread.join()
