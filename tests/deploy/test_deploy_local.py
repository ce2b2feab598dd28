"""Test `lookonce deploy local`: the service outlives its command, is restarted, and stops on request."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from lookonce.deploy.local import check_name
from lookonce.errors import LookonceError
from lookonce.export import export_onnx
from requirements import missing
from serving_process import fastest
from waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.slow

AZURE_SERVER = Path(sys.prefix) / "azure-server" / "bin" / "azmlinfsrv"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def model(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "dogs.onnx"
    cfg, _, weights, _, classes = fastest(shared)
    export_onnx(cfg, path, weights=weights, classes=classes)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run `lookonce deploy …` with a state folder of its own; delete all services afterwards."""

    def deploy(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if name != "WEBSERVICE_KEY"}
        return subprocess.run(
            [sys.executable, "-m", "lookonce", "deploy", *map(str, arguments)],
            env={**clean, "LOOKONCE_STATE": str(tmp_path), "COLUMNS": "200", **env},
            capture_output=True,
            text=True,
            check=False,
        )

    yield deploy
    for folder in (tmp_path / "services").glob("*"):
        deploy("delete", folder.name)


def url_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.split("is ready: ")[1].split()[0]


def score(url: str, image: bytes, key: str | None = None) -> int:
    headers = {"Content-Type": "image/jpeg"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        return httpx.post(url, content=image, headers=headers, timeout=PATIENCE_SECONDS).status_code
    except httpx.TransportError:
        return 0


def test_from_start_to_end(run: Run, model: Path, shared: Path, tmp_path: Path):
    image = (shared / "images" / "dog.jpg").read_bytes()
    url = url_of(
        run("local", model, "--service-name", "dogs", "--description", "Our dogs", WEBSERVICE_KEY="s3cret")
    )
    assert score(url, image, "s3cret") == 200
    assert score(url, image) == 401
    listed = run("list").stdout
    assert "ready" in listed
    assert "Our dogs" in listed
    again = run("local", model, "--service-name", "dogs")
    assert again.returncode == 1
    assert "is already running" in again.stderr
    assert score(url, image, "s3cret") == 200
    assert '"event": "ready"' in run("logs", "dogs").stdout
    # No file contains the key.
    assert not any(b"s3cret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    supervisor = psutil.Process(int((tmp_path / "services" / "dogs" / "pid").read_text()))
    family = [supervisor, *supervisor.children(recursive=True)]
    assert run("delete", "dogs").returncode == 0
    assert psutil.wait_procs(family, PATIENCE_SECONDS)[1] == []
    assert score(url, image, "s3cret") == 0
    assert "No services" in run("list").stdout


def test_a_crashed_service_is_restarted_at_the_same_address(
    run: Run, model: Path, shared: Path, tmp_path: Path
):
    image = (shared / "images" / "dog.jpg").read_bytes()
    url = url_of(run("local", model, "--service-name", "dogs"))
    supervisor = psutil.Process(int((tmp_path / "services" / "dogs" / "pid").read_text()))
    supervisor.children()[0].send_signal(signal.SIGKILL)
    wait_until(lambda: score(url, image) == 200)
    assert "exited with -9; start 2" in run("logs", "dogs").stdout
    # After a crash of its supervisor it can be deployed again.
    for process in [supervisor, *supervisor.children(recursive=True)]:
        process.kill()
    wait_until(lambda: "stopped" in run("list").stdout)
    url_of(run("local", model, "--service-name", "dogs"))


def test_a_model_that_cannot_be_served_is_reported_and_leaves_nothing(run: Run, tmp_path: Path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    done = run("local", broken, "--service-name", "broken")
    assert done.returncode == 1
    assert "Last lines of its log" in done.stderr
    assert "broken.onnx" in done.stderr
    assert "Traceback" not in done.stderr
    assert "stopped" in run("list").stdout
    assert "on this machine; it has broken" in run("logs", "other").stderr
    exposed = run("local", broken, "--service-name", "open-one", "--host", "0.0.0.0")
    assert "no key is set" in exposed.stderr


def test_under_azures_own_server(run: Run, model: Path, shared: Path):
    if not AZURE_SERVER.exists():
        missing(f"azureml-inference-server-http is not installed in {AZURE_SERVER.parents[1]}")
    image = (shared / "images" / "dog.jpg").read_bytes()
    arguments = ("local", model, "--service-name", "azure-dogs", "--azure-server", AZURE_SERVER)
    assert "requires no key" in run(*arguments).stderr
    url = url_of(run(*arguments, "--insecure"))
    assert score(url, image) == 200


@pytest.mark.parametrize("name", ["", "ab", "1abc", "abc-", "a b c", "x" * 33, "ä" * 5])
def test_names_that_azure_refuses(name: str):
    with pytest.raises(LookonceError, match="is not a service name"):
        check_name(name)
