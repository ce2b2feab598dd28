"""Ray over a real object store: from container to container, whatever dies; keys stay secret."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from azure_stand_in.azurite import Azurite
from lookonce.inference import Detector
from lookonce.models.open import open_graph

pytestmark = pytest.mark.slow

# Small parts, so that the run can be killed between them.
RUN = """
import sys
from pathlib import Path
from lookonce.inference.ray import detect_fleet
detect_fleet(Path(sys.argv[1]).read_bytes(), sys.argv[2], sys.argv[3], part_images=3)
"""
IMAGES, PARTS = 42, 14


@pytest.fixture(scope="module")
def model(shared: Path) -> Path:
    return shared / "weights" / "yolo-fastest" / "yolo-fastest-1.1.cfg"


@pytest.fixture(scope="module", autouse=True)
def installed(need) -> None:
    for module in ("ray", "adlfs"):
        need(module)


@pytest.fixture(scope="module")
def files(azurite: Azurite) -> Any:
    """The account through adlfs, as a reader of the results has it."""
    import fsspec

    return fsspec.filesystem("abfs", connection_string=azurite.connection_string)


@pytest.fixture(scope="module")
def images(shared: Path, files: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty crops and two files that are no images, in the container's folder and beside it on the disk."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "deeper down").mkdir()
    sources = [Image.open(path).convert("RGB") for path in sorted((shared / "images").glob("*.jpg"))]
    rng = np.random.default_rng(0)
    for index in range(IMAGES - 2):
        source = sources[index % len(sources)]
        left, top = (int(rng.integers(0, side // 4)) for side in source.size)
        crop = source.crop((left, top, left + source.width * 3 // 4, top + source.height * 3 // 4))
        name = f"deeper down/ü#{index}%20.png" if index % 4 == 0 else f"{index}.jpg"
        crop.resize((320, 240)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    (folder / "empty.png").write_bytes(b"")
    files.mkdir("pics")
    for path in folder.rglob("*.*"):
        files.pipe_file(f"pics/in/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return folder


def environment(**more: str) -> dict[str, str]:
    """This one, with no credentials for stores but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "AWS_"))}
    return {**kept, **more}


def detect(model: Path, source: str, output: str, *more: str) -> list[str]:
    command = [sys.executable, "-m", "lookonce", "detect", str(model), source, "--output", output]
    return [*command, "--weights", str(model.with_suffix(".weights")), "--engine", "ray", *more]


def rows_of(files: Any, folder: str) -> list[dict[str, Any]]:
    from pyarrow import parquet

    files.invalidate_cache()
    found = files.glob(f"{folder}/*.parquet")
    return [row for name in found for row in parquet.read_table(io.BytesIO(files.cat_file(name))).to_pylist()]


def end_with_children(process: subprocess.Popen[Any]) -> None:
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    os.kill(process.pid, signal.SIGKILL)
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The address of a Ray cluster whose machine knows no credentials, and the folder of all its logs."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Ray's sockets are created there, and their paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="r"))
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0"]
    ray += ["--include-dashboard=false", f"--temp-dir={folder}", "--num-cpus=2"]
    ray += ["--object-store-memory=200000000", "--disable-usage-stats"]
    output = folder / "output"
    with output.open("wb") as out:
        process = subprocess.Popen(ray, stdout=out, stderr=out, env=environment(), start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not (address := re.search(r"--address='([\d.]+:\d+)'", output.read_text())):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.1)
        yield address[1], folder
    finally:
        end_with_children(process)
        shutil.rmtree(folder, ignore_errors=True)


def test_killed_half_way_a_cluster_without_credentials_resumes(
    azurite: Azurite, files: Any, images: Path, model: Path, cluster: tuple[str, Path], tmp_path: Path
):
    """Container to container: each image once, as the local engine sees it, and the key in no log."""
    address, logs = cluster
    graph = tmp_path / "m.onnx"
    graph.write_bytes(open_graph(model, model.with_suffix(".weights")))
    open_store = environment(AZURE_STORAGE_CONNECTION_STRING=azurite.connection_string)
    command = [sys.executable, "-c", RUN, str(graph), "abfs://pics/in", "abfs://pics/out"]
    run = subprocess.Popen(command, env=open_store, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(files.glob("pics/out/results/part-*")) < PARTS // 2:
        assert run.poll() is None, "ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
        files.invalidate_cache()
    end_with_children(run)
    before = rows_of(files, "pics/out/results") + rows_of(files, "pics/out/rejects")
    assert IMAGES // 3 < len(before) < IMAGES

    command = detect(model, "abfs://pics/in", "abfs://pics/out", "--address", address)
    again = subprocess.run(command, env=open_store, capture_output=True, text=True, timeout=240)
    assert again.returncode == 1, again.stderr
    assert f"{IMAGES - len(before)} images" in again.stdout
    assert f"{len(before)} done earlier" in again.stdout
    assert "Warning" not in again.stderr

    results, rejects = rows_of(files, "pics/out/results"), rows_of(files, "pics/out/rejects")
    names = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.*"))
    assert sorted(row["filename"] for row in results + rejects) == names
    assert {row["filename"] for row in rejects} == {"broken.jpg", "empty.png"}
    local = Detector(model, weights=model.with_suffix(".weights"))
    for row in results[::4]:
        found = local.detect(images / row["filename"])
        boxes = [[one[side] for side in ("left", "top", "right", "bottom")] for one in row["boxes"]]
        np.testing.assert_allclose(np.reshape(boxes, (-1, 4)), found.boxes, atol=1e-2)
        assert [one["label"] for one in row["boxes"]] == [found.names[label] for label in found.classes]

    written = [path for path in logs.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert [path for path in written if azurite.key.encode() in path.read_bytes()] == []
    assert azurite.key not in again.stdout + again.stderr


def test_what_is_wrong_with_the_store_is_one_line(azurite: Azurite, images: Path, model: Path):
    wrong = base64.b64encode(b"wrong" * 12).decode()
    right = {"AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string}
    cases = [
        ("abfs://pics/in", {"AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string_with(wrong)}),
        ("abfs://pics/in", {}),
        ("abfs://nowhere/in", right),
        ("abfs://pics/nothing", right),
        ("abfs://pics/in", right),
    ]
    outputs = ["abfs://pics/found"] * 4 + ["abfs://nowhere/found"]
    expected = ["failed to authenticate", "AZURE_STORAGE_", "nowhere", "no images found", "does not exist"]
    runs = [
        subprocess.Popen(
            detect(model, source, output), env=environment(**variables), stdout=-1, stderr=-1, text=True
        )
        for (source, variables), output in zip(cases, outputs, strict=True)
    ]
    for run, words in zip(runs, expected, strict=True):
        out, error = run.communicate(timeout=120)
        assert run.returncode == 1
        assert len(error.split()) > 5
        assert error.strip().startswith("lookonce: ")
        assert error.strip().count("\n") == 0
        assert words in error
        assert azurite.key not in out + error
        assert wrong not in out + error
