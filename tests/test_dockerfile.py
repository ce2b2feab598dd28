"""The Dockerfile without an engine: linted, and every path and command of it tried in a clean folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from lookonce.export import export_onnx
from serving_process import fastest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
# Of its own, none of this machine's.
USER_ID = 10001


def instructions() -> list[tuple[str, str]]:
    """(NAME, rest) of each, continued lines joined."""
    lines = [line for line in TEXT.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines()]


def rest_of(name: str) -> str:
    (rest,) = [rest for one, rest in instructions() if one == name]
    return rest


def variables() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(rest_of("ENV")))


def reachable(path: Path) -> bool:
    """Whether any user may come to it."""
    return all(folder.stat().st_mode & 0o001 for folder in path.parents)


@dataclass
class Image:
    """The file's build stage in `folder`, its environment in `programs`."""

    folder: Path
    programs: Path

    def start(self, port: int, model: Path, *more: str, **env: str) -> subprocess.Popen[str]:
        """The entry point as the image runs it: its variables, another user, nothing writable but /tmp."""
        command = [word.replace("8080", str(port)) for word in json.loads(rest_of("ENTRYPOINT"))]
        program = self.programs / "bin" / command[0]
        # An interpreter in root's own home is nobody else's.
        other = os.geteuid() == 0 and reachable(Path(sys.executable).resolve())
        return subprocess.Popen(
            [program, *command[1:], *more],
            cwd="/",
            env=self.environment(AZUREML_MODEL_DIR=str(model), **env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **({"user": USER_ID, "group": USER_ID, "extra_groups": []} if other else {}),
        )

    def healthy(self, port: int) -> int:
        """The health check's exit code."""
        command = json.loads(rest_of("HEALTHCHECK").partition("CMD ")[2])
        assert command[0] == "python"
        words = [self.programs / "bin" / "python", *(word.replace("8080", str(port)) for word in command[1:])]
        return subprocess.run(words, env=self.environment(), capture_output=True, check=False).returncode

    def environment(self, **more: str) -> dict[str, str]:
        named = variables()
        named["PATH"] = (
            named["PATH"].replace("/opt/lookonce", str(self.programs)).replace("$PATH", "/usr/bin:/bin")
        )
        return {**named, **more}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("build")
    # Another user is to reach it.
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    built = Image(folder / "context", folder / "programs")
    built.folder.mkdir()
    for name, rest in instructions():
        if name == "COPY" and "--from" not in rest:
            *sources, target = rest.split()
            for source in sources:
                place = built.folder / target / (source if target.endswith("/") else "")
                if (ROOT / source).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
                    shutil.copytree(ROOT / source, place, ignore=ignored)
                else:
                    shutil.copy(ROOT / source, place)
    command = rest_of("RUN").replace("/opt/lookonce", str(built.programs))
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    # A cache is the difference between seconds and minutes, and nothing of the result.
    done = subprocess.run(
        command.replace("--no-cache-dir ", ""),
        shell=True,
        cwd=built.folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return built


@pytest.fixture(scope="module")
def model_folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    cfg, _, weights, _, classes = fastest(shared)
    export_onnx(cfg, folder / "model.onnx", weights=weights, classes=classes)
    for place in (folder, *folder.parents[:2]):
        place.chmod(0o755)
    (folder / "model.onnx").chmod(0o644)
    return folder


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_ready(process: subprocess.Popen[str], port: int) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.1)


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_context_holds_what_is_copied_and_nothing_else():
    wanted = {
        source
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == wanted
    assert all((ROOT / source).exists() for source in wanted)


def test_nobodys_user_and_no_secret():
    assert rest_of("USER") == f"{USER_ID}:{USER_ID}"
    assert "WEBSERVICE_KEY" not in rest_of("ENV")
    assert "--insecure" not in rest_of("ENTRYPOINT")
    assert rest_of("EXPOSE") == "8080"


def test_what_is_installed_serves_and_is_no_more_than_that(image: Image):
    python = image.programs / "bin" / "python"
    listed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert not re.search(r"(?im)^(keras|tensorflow|torch|jax|pytest|azure\S*)\s", listed)
    # What isn't Python travels, too.
    code = "import lookonce, pathlib; print(pathlib.Path(lookonce.__file__).parent)"
    place = subprocess.run([python, "-c", code], cwd="/", capture_output=True, text=True, check=True).stdout
    package = Path(place.strip())
    assert not package.is_relative_to(ROOT)
    source = ROOT / "src" / "lookonce"
    for folder in ("serving/page", "serving/azure"):
        files = {path.name for path in (source / folder).iterdir() if path.is_file()}
        assert files == {path.name for path in (package / folder).iterdir() if path.is_file()}


def test_it_serves_a_mounted_model(image: Image, model_folder: Path, port: int, shared: Path):
    assert image.healthy(port) != 0
    process = image.start(port, model_folder, WEBSERVICE_KEY="key-1")
    try:
        wait_ready(process, port)
        assert image.healthy(port) == 0
        picture = (shared / "images" / "dog.jpg").read_bytes()

        def score(key: str) -> Any:
            headers = {"Content-Type": "image/jpeg", "Authorization": f"Bearer {key}"}
            return httpx.post(f"http://127.0.0.1:{port}/score", content=picture, headers=headers, timeout=30)

        assert len(score("key-1").json()[0]["boxes"]) == 5
        assert score("key-2").status_code == 401
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert image.healthy(port) != 0


def test_it_will_not_start_without_a_key_or_a_model(
    image: Image, model_folder: Path, tmp_path: Path, port: int
):
    without = image.start(port, model_folder)
    assert "there is no key" in without.communicate(timeout=60)[0]
    assert without.returncode == 1
    tmp_path.chmod(0o755)
    empty = image.start(port, tmp_path, WEBSERVICE_KEY="key-1")
    assert "holds no .onnx or .keras file" in empty.communicate(timeout=60)[0]
    assert empty.returncode == 1
