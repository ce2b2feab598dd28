"""Test the entry script in Azure's inference server, run as a process: it responds like `lookonce serve`."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lookonce.export import export_onnx
from lookonce.inference import Detector
from lookonce.serving.protocols.azure import __file__ as azure_package
from requirements import missing
from serving_process import fastest
from waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.slow

ENTRY = Path(azure_package).with_name("score_script.py")
# It needs other package versions, and has a virtual environment of its own (see the Makefile).
SERVER = Path(sys.prefix) / "azure-server" / "bin" / "azmlinfsrv"
JSON = {"Content-Type": "application/json"}


class AzureServer:
    """A running azmlinfsrv at `url`, with its output in `log`."""

    def __init__(self, folder: Path, model_folder: Path, wait: bool = True, **env: str) -> None:
        if not SERVER.exists():
            missing(f"azureml-inference-server-http is not installed in {SERVER.parents[1]}")
        # As in a deployment: the script alone, without the repository.
        entry = folder / "code" / "score.py"
        entry.parent.mkdir(parents=True)
        shutil.copy(ENTRY, entry)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", folder / "server.log"
        hidden = ("LOOKONCE_MODEL", "AZUREML_MODEL_DIR")
        clean = {name: value for name, value in os.environ.items() if name not in hidden}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [SERVER, "--entry_script", entry, "--model_dir", model_folder, "--port", str(port)],
                cwd=entry.parent,
                env={**clean, **env},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if wait:
            wait_until(lambda: self.process.poll() is not None or self._lives())
            assert self.process.poll() is None, self.log.read_text()

    def _lives(self) -> bool:
        try:
            return httpx.get(f"{self.url}/", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def post(self, query: str = "", **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/score{query}", timeout=PATIENCE_SECONDS, **options)

    def __enter__(self) -> AzureServer:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture(scope="module")
def model_folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder as Azure mounts it: a version's folder, with the file somewhere below."""
    folder = tmp_path_factory.mktemp("registered") / "dogs" / "1"
    cfg, _, weights, _, classes = fastest(shared)
    export_onnx(cfg, folder / "outputs" / "model.onnx", weights=weights, classes=classes)
    return folder


@pytest.fixture(scope="module")
def server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with AzureServer(tmp_path_factory.mktemp("azure"), model_folder) as running:
        yield running


@pytest.fixture(scope="module")
def expected(shared: Path, model_folder: Path) -> Callable[..., dict[str, Any]]:
    detector = Detector(model_folder / "outputs" / "model.onnx", conf=0.4)

    def answer(image: str, filename: str) -> dict[str, Any]:
        return detector.detect(shared / "images" / image).to_dict(filename)

    return answer


@pytest.fixture(scope="module")
def images(shared: Path) -> list[bytes]:
    return [(shared / "images" / name).read_bytes() for name in ("dog.jpg", "eagle.jpg")]


def test_health_answers(server: AzureServer):
    assert httpx.get(f"{server.url}/").text == "Healthy"


def test_raw_bytes(server: AzureServer, images: list[bytes], expected):
    for kind in ("image/jpeg", "application/octet-stream"):
        reply = server.post("?conf=0.4", content=images[0], headers={"Content-Type": kind})
        assert reply.status_code == 200, reply.text
        assert reply.headers["content-type"] == "application/json"
        assert "infer;dur=" in reply.headers["server-timing"]
        assert reply.json() == [expected("dog.jpg", "image_0")]
        assert len(reply.json()[0]["boxes"]) == 4


def test_both_json_forms(server: AzureServer, images: list[bytes], expected):
    texts = [base64.b64encode(image).decode() for image in images]
    answers = [expected("dog.jpg", "image_0"), expected("eagle.jpg", "image_1")]
    for rows in (texts, [[text] for text in texts]):
        body = {"input_data": {"columns": ["image"], "data": rows}}
        assert server.post("?conf=0.4", json=body).json() == answers
    assert server.post("?conf=0.4", json={"data": texts[0]}).json() == answers[:1]


def test_multipart(server: AzureServer, images: list[bytes], expected):
    files = [("one", ("dog.jpg", images[0])), ("two", ("eagle.jpg", images[1]))]
    answers = [expected("dog.jpg", "dog.jpg"), expected("eagle.jpg", "eagle.jpg")]
    assert server.post("?conf=0.4", files=files).json() == answers


def test_query_parameters(server: AzureServer, images: list[bytes]):
    kind = {"Content-Type": "image/jpeg"}
    assert server.post("?conf=0.99", content=images[0], headers=kind).json()[0]["boxes"] == []
    assert "predictions" in server.post("?format=custom-vision", content=images[0], headers=kind).json()
    drawn = server.post("?draw=1", content=images[0], headers=kind)
    assert drawn.headers["content-type"] == "image/jpeg"
    assert drawn.content.startswith(b"\xff\xd8")
    assert server.post("?conf=high", content=images[0], headers=kind).status_code == 400


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{bad", "application/json", 400),
        (b'{"data": "not base64!"}', "application/json", 400),
        (b'"just text"', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"", "image/jpeg", 400),
        (b"hello", "text/plain", 415),
        (b"no image", "image/jpeg", 422),
        (b"no form", "multipart/form-data; boundary=x", 400),
    ],
)
def test_each_error_has_a_status_and_a_message(server: AzureServer, content: bytes, kind: str, status: int):
    reply = server.post(content=content, headers={"Content-Type": kind})
    assert reply.status_code == status
    assert reply.json()["error"]
    # Azure counts these responses as failures of the model.
    assert reply.headers["x-ms-run-function-failed"] == "False"


def test_only_post_is_allowed(server: AzureServer):
    reply = httpx.get(f"{server.url}/score")
    assert reply.status_code == 405
    assert reply.headers["allow"] == "POST"
    assert "POST" in reply.json()["error"]


def test_a_body_beyond_the_limit_is_refused(server: AzureServer):
    def chunks() -> Iterator[bytes]:
        for _ in range(33):
            yield bytes(2**20)

    for content in (bytes(33 * 2**20), chunks()):
        reply = server.post(content=content, headers={"Content-Type": "image/jpeg"})
        assert reply.status_code == 413


def test_the_scoring_client_works(
    server: AzureServer, shared: Path, expected, capsys: pytest.CaptureFixture[str]
):
    from lookonce.cli.main import main

    image = str(shared / "images" / "dog.jpg")
    assert main(["score", image, "--uri", server.url, "--conf", "0.4", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == [expected("dog.jpg", "dog.jpg")]


def test_a_preloaded_server_answers_from_every_worker(
    model_folder: Path, tmp_path: Path, images: list[bytes], expected
):
    with AzureServer(tmp_path, model_folder, WORKER_PRELOAD="true", WORKER_COUNT="2") as server:
        kind = {"Content-Type": "image/jpeg"}
        for _ in range(4):
            reply = server.post("?conf=0.4", content=images[0], headers=kind)
            assert reply.json() == [expected("dog.jpg", "image_0")]


def test_a_folder_without_a_model_stops_the_server_with_the_reason(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with AzureServer(tmp_path, tmp_path / "empty", wait=False) as server:
        assert server.process.wait(PATIENCE_SECONDS) != 0
        assert "holds no .onnx or .keras file" in server.log.read_text()
