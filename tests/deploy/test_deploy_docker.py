"""Test `lookonce deploy local --docker` with a program in docker's place that really runs the commands."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_stand_in import end
from lookonce.cli.main import main
from lookonce.export import export_onnx
from serving_process import fastest

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment without services, key and docker."""
    monkeypatch.setenv("LOOKONCE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("WEBSERVICE_KEY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Path]:
    """Put `docker` on the path; return the folder of its state."""
    state = tmp_path / "docker"
    for folder in (state, tmp_path / "bin"):
        folder.mkdir()
    program = tmp_path / "bin" / "docker"
    stand_in = Path(__file__).parents[1] / "support" / "docker_stand_in.py"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in}" "{state}" "$@"\n')
    program.chmod(0o755)
    yield state
    for folder in (state / "containers").glob("lookonce-*"):
        end(folder)


@pytest.fixture
def model(tmp_path: Path, shared: Path) -> str:
    cfg, _, weights, _, classes = fastest(shared)
    return str(export_onnx(cfg, tmp_path / "dogs.onnx", weights=weights, classes=classes))


def deploy(*words: str) -> int:
    return main(["deploy", "local", *words, "--docker"])


def test_a_container_from_first_to_last(
    docker: Path,
    model: str,
    shared: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("WEBSERVICE_KEY", "a-key-of-the-user")
    assert deploy(model, "--service-name", "dogs", "--description", "all dogs") == 0
    out = capsys.readouterr().out
    assert "dogs is ready: http://127.0.0.1:" in out
    image = str(shared / "images" / "dog.jpg")
    assert main(["score", image, "--service", "dogs", "--json", "-"]) == 0
    assert len(json.loads(capsys.readouterr().out)[0]["boxes"]) == 5
    monkeypatch.delenv("WEBSERVICE_KEY")
    assert main(["score", image, "--service", "dogs"]) == 1
    assert "requires a key (401)" in capsys.readouterr().err
    assert main(["deploy", "list"]) == 0
    listed = capsys.readouterr().out
    assert "dogs" in listed
    assert "ready" in listed
    assert main(["deploy", "logs", "dogs", "--lines", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    for more in ([], ["--docker"]):
        assert main(["deploy", "local", model, "--service-name", "dogs", *more]) == 1
        assert "dogs already exists, in Docker" in capsys.readouterr().err
    calls = [json.loads(line) for line in (docker / "calls").read_text().splitlines()]
    (run,) = [words for words in calls if words[0] == "run"]
    assert {"--read-only", "--detach", "unless-stopped"} <= set(run)
    assert run[run.index("--publish") + 1].startswith("127.0.0.1:")
    assert "--insecure" not in run
    assert "a-key-of-the-user" not in (docker / "calls").read_text()
    assert main(["deploy", "delete", "dogs"]) == 0
    assert main(["deploy", "list"]) == 0
    assert "No services on this machine" in capsys.readouterr().out
    assert not (Path(os.environ["LOOKONCE_STATE"]) / "services" / "dogs").exists()
    # The image is reused for the next model as long as the code is the same.
    assert deploy(model, "--service-name", "cats") == 0
    calls = [json.loads(line) for line in (docker / "calls").read_text().splitlines()]
    built = [words[2] for words in calls if words[0] == "build"]
    assert len(built) == len(set(built))
    assert main(["deploy", "delete", "cats"]) == 0


def test_a_crashing_container_is_reported_and_removed(
    docker: Path, model: str, capsys: pytest.CaptureFixture[str]
):
    broken = Path(model).with_name("broken.onnx")
    broken.write_bytes(Path(model).read_bytes()[:50_000])
    assert deploy(str(broken), "--service-name", "broken") == 1
    printed = capsys.readouterr().err
    assert "the container of broken did not become ready" in printed
    assert "broken.onnx" in printed.partition("Last lines of its log:")[2]
    assert not list((docker / "containers").glob("lookonce-*"))
    assert main(["deploy", "logs", "broken"]) == 1
    assert "add --on azure" in capsys.readouterr().err


def test_without_an_engine_there_is_one_message(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
):
    assert deploy(model, "--service-name", "dogs") == 1
    assert "docker is not installed, or not on the PATH" in capsys.readouterr().err
    state = request.getfixturevalue("docker")
    (state / "down").touch()
    assert deploy(model, "--service-name", "dogs") == 1
    assert "Docker's engine does not respond (Cannot connect to the Docker daemon" in capsys.readouterr().err
    (state / "down").unlink()
    assert deploy(model, "--service-name", "dogs", "--host", "0.0.0.0") == 1
    assert "WEBSERVICE_KEY" in capsys.readouterr().err
    assert deploy(model, "--service-name", "dogs", "--workers", "2") == 1
    assert "--workers works only without --docker" in capsys.readouterr().err
