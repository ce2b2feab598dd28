"""The plain install, without Keras: commands that need it say what to install, all others run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lookonce.labels.demo_set import make_demo_set

# Importing Keras or a backend fails as it does where they are not installed.
WITHOUT_KERAS = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("keras", "tensorflow", "jax", "torch"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from lookonce.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def lookonce(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "LOOKONCE_CACHE": str(folder / "cache")},
        timeout=60,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_demo_set(tmp_path / "data", images=6, seed=1)


@pytest.mark.parametrize("command", ["train", "demo"])
def test_commands_that_train_say_what_to_install(tmp_path: Path, data: Path, command: str) -> None:
    done = lookonce(tmp_path, command, *([data] if command == "train" else []))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "pip install 'lookonce[tensorflow]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_chosen_backend_is_the_one_to_install(tmp_path: Path, data: Path) -> None:
    done = lookonce(tmp_path, "train", data, "--backend", "jax")
    assert done.returncode == 1
    assert "pip install 'lookonce[jax]'" in done.stderr


def test_anchors_are_clustered_without_keras(tmp_path: Path, data: Path) -> None:
    done = lookonce(tmp_path, "anchors", data, "-k", 3, "--plot", "anchors.png")
    assert done.returncode == 0, done.stderr
    assert "average IoU" in done.stdout
    assert (tmp_path / "anchors.png").is_file()


def test_exporting_a_keras_model_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"PK")
    done = lookonce(tmp_path, "export", "model.keras", "--format", "darknet")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "pip install 'lookonce[tensorflow]'" in done.stderr
