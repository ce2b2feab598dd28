"""Ray on this machine: each image is processed once despite crashes, with the same boxes as without Ray."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from lookonce.cli.main import main
from lookonce.errors import LookonceError
from lookonce.inference import Detector
from lookonce.models.open import open_graph

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ray(need):
    return need("ray")


@pytest.fixture(scope="module")
def model(shared: Path) -> Path:
    return shared / "weights" / "yolo-fastest" / "yolo-fastest-1.1.cfg"


@pytest.fixture(scope="module")
def images(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create 120 crops in two folders, and two files that are not images."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "deeper").mkdir()
    sources = [Image.open(path).convert("RGB") for path in sorted((shared / "images").glob("*.jpg"))]
    rng = np.random.default_rng(0)
    for index in range(120):
        source = sources[index % len(sources)]
        left, top = (int(rng.integers(0, side // 4)) for side in source.size)
        crop = source.crop((left, top, left + source.width * 3 // 4, top + source.height * 3 // 4))
        name = f"deeper/ü {index}.png" if index % 7 == 0 else f"{index}.jpg"
        crop.resize((320, 240)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    (folder / "empty.png").write_bytes(b"")
    return folder


def rows_of(output: Path, kind: str) -> list[dict]:
    from pyarrow import parquet

    return [
        row
        for path in sorted((output / kind).glob("*.parquet"))
        for row in parquet.read_table(path).to_pylist()
    ]


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_as_the_local_engine_once_each_and_going_on(ray, model: Path, images: Path, tmp_path: Path, capsys):
    output = tmp_path / "found"
    command = ["detect", str(model), str(images), "--weights", str(model.with_suffix(".weights"))]
    command += ["--engine", "ray", "--output", str(output)]
    assert main(command) == 1
    assert "122 images" in capsys.readouterr().out
    results, rejects = rows_of(output, "results"), rows_of(output, "rejects")
    assert sorted(row["filename"] for row in results + rejects) == names_in(images)
    assert {row["filename"] for row in rejects} == {"broken.jpg", "empty.png"}
    assert all(row["filename"] in row["reason"] for row in rejects)
    local = Detector(model, weights=model.with_suffix(".weights"))
    for row in results[::10]:
        found = local.detect(images / row["filename"])
        assert (row["width"], row["height"]) == found.image_size
        boxes = [[one[side] for side in ("left", "top", "right", "bottom")] for one in row["boxes"]]
        np.testing.assert_allclose(np.reshape(boxes, (-1, 4)), found.boxes, atol=1e-2)
        np.testing.assert_allclose([one["score"] for one in row["boxes"]], found.scores, atol=1e-4)
        assert [one["label"] for one in row["boxes"]] == [found.names[label] for label in found.classes]

    assert main(command) == 0
    assert "0 images, 0 objects, 0 rejected" in (printed := capsys.readouterr().out)
    assert "122 done earlier" in printed
    assert main([*command, "--conf", "0.5"]) == 1
    assert "conf differ" in capsys.readouterr().err
    assert main([*command, "--json", "x.json"]) == 1
    assert "Parquet" in capsys.readouterr().err


RUN = """
import sys
from pathlib import Path
from lookonce.inference.ray import detect_fleet
print(detect_fleet(Path(sys.argv[1]).read_bytes(), sys.argv[2], sys.argv[3], part_images=3), flush=True)
"""


def started(graph: Path, images: Path, output: Path) -> subprocess.Popen:
    """A run of 41 parts in a process of its own, and at least three of them written."""
    command = [sys.executable, "-c", RUN, str(graph), str(images), str(output)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list(output.glob("results/part-*"))) < 3:
        assert run.poll() is None, "ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return run


@pytest.fixture(scope="module")
def graph(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "m.onnx"
    path.write_bytes(open_graph(model, model.with_suffix(".weights")))
    return path


def test_a_killed_worker_costs_no_image(ray, graph: Path, images: Path, tmp_path: Path):
    run = started(graph, images, tmp_path / "out")
    workers = [
        child
        for child in psutil.Process(run.pid).children(recursive=True)
        if "MapWorker" in "".join(child.cmdline())
    ]
    workers[0].kill()
    printed, _ = run.communicate(timeout=240)
    assert run.returncode == 0
    assert "images=122" in printed
    rows = rows_of(tmp_path / "out", "results") + rows_of(tmp_path / "out", "rejects")
    assert sorted(row["filename"] for row in rows) == names_in(images)


def test_a_killed_run_resumes(ray, graph: Path, images: Path, tmp_path: Path):
    run = started(graph, images, tmp_path / "out")
    family = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    os.kill(run.pid, signal.SIGKILL)
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    run.wait()
    before = {row["filename"] for row in rows_of(tmp_path / "out", "results")}
    assert 0 < len(before) < 120
    Image.new("RGB", (50, 40)).save(images / "late.png")
    try:
        again = subprocess.run(run.args, capture_output=True, text=True, timeout=240)
        assert again.returncode == 0, again.stderr
        assert "Warning" not in again.stderr
        rows = rows_of(tmp_path / "out", "results") + rows_of(tmp_path / "out", "rejects")
        assert sorted(row["filename"] for row in rows) == names_in(images)
    finally:
        (images / "late.png").unlink()
    # A part is done once its results are written; each worker may have been between rejects and results.
    assert len(before) - 2 * 3 <= int(again.stdout.partition("already_done=")[2].partition(",")[0]) < 122


def test_an_empty_folder_is_reported(ray, graph: Path, tmp_path: Path):
    from lookonce.inference.ray import detect_fleet

    with pytest.raises(LookonceError, match="no images found"):
        detect_fleet(graph.read_bytes(), str(tmp_path), str(tmp_path / "out"))


# A store whose reader crashes at one image, as decoders do on some broken files.
DEADLY = """
import os
from fsspec.implementations.local import LocalFileSystem

class Deadly(LocalFileSystem):
    def cat_file(self, path, **options):
        if path.endswith("empty.png"):
            os._exit(1)
        return super().cat_file(path, **options)
"""
RUN_DEADLY = """
import sys
from pathlib import Path
from deadly import Deadly
from lookonce.errors import LookonceError
from lookonce.inference.ray import detect_fleet, fleet
from lookonce.inference.ray.folders import Folder, list_keys

def deadly(source):
    place, keys = list_keys(source)
    return Folder(Deadly(), place.path, place.name), keys

fleet.list_keys = deadly
try:
    detect_fleet(Path(sys.argv[1]).read_bytes(), sys.argv[2], sys.argv[3], workers=1, retries=1)
except LookonceError as error:
    print(error)
"""


def test_an_image_that_kills_its_worker_stops_the_run(ray, graph: Path, images: Path, tmp_path: Path):
    (tmp_path / "deadly.py").write_text(DEADLY)
    command = [sys.executable, "-c", RUN_DEADLY, str(graph), str(images), str(tmp_path / "out")]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    run = subprocess.run(command, env=path, capture_output=True, text=True, timeout=120)
    assert "crashing over the 122 images from 1.jpg to" in run.stdout, run.stderr


def test_an_unresponsive_store_is_detected_early(ray, graph: Path, tmp_path: Path):
    """A link to itself is neither there nor missing: an error that might pass, as of a network."""
    from lookonce.inference.ray import Parts
    from lookonce.inference.ray.folders import open_folder
    from lookonce.inference.ray.worker import Job, process_part

    keys = [f"{index}.jpg" for index in range(256)]
    for key in keys:
        (tmp_path / key).symlink_to(tmp_path / key)
    job = Job(open_folder(str(tmp_path)), Parts(str(tmp_path / "out")), 0.3, 0.45, "cpu", 1, 8)
    began = time.monotonic()
    with pytest.raises(LookonceError, match="8 of 8 images"):
        process_part(Detector.from_graph(graph.read_bytes(), 0.3, 0.45, threads=1), job, keys)
    assert time.monotonic() - began < 40
    assert not (tmp_path / "out").exists()
