"""Test the snapshot and lock of a job: the package, named files, versions; no secrets."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from azure.ai.ml._utils._asset_utils import AmlIgnoreFile

from lookonce.deploy.package.lock import locked
from lookonce.deploy.package.snapshot import write_snapshot
from lookonce.errors import LookonceError


def test_the_snapshot_runs_by_itself_and_holds_nothing_else(tmp_path: Path):
    weights = tmp_path / "tiny.weights"
    weights.write_bytes(b"weights")
    (tmp_path / ".env").write_text("KEY=secret")
    folder = tmp_path / "snapshot"
    folder.mkdir()
    write_snapshot(folder, {"pretrained.weights": weights})
    assert {path.name for path in folder.iterdir()} == {"lookonce", "pretrained.weights", ".amlignore"}
    assert not [path for path in folder.rglob("*") if path.suffix in (".pyc", ".env")]
    # -I: do not use the installed package.
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); "
        "import lookonce, lookonce.cli.main; print(lookonce.__file__)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(folder / "lookonce" / "__init__.py"), done.stderr


def test_amlignore_keeps_secrets_here(tmp_path: Path):
    write_snapshot(tmp_path, {})
    ignored = AmlIgnoreFile(tmp_path)
    for name in (
        ".env",
        "prod.env",
        "myenvs.txt",
        "config.json",
        "id.pem",
        "outputs/model.keras",
        "sub/a.key",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("secret")
        assert ignored.is_file_excluded(path), name
    assert not ignored.is_file_excluded(tmp_path / "lookonce" / "pipeline.py")


@pytest.mark.parametrize("name", ["../x", "a/b", ".env", ""])
def test_names_that_a_job_would_not_get(tmp_path: Path, name: str):
    with pytest.raises(LookonceError, match="is not a file name for a job"):
        write_snapshot(tmp_path, {name: Path(__file__)})


def test_the_lock_names_what_runs_here():
    lines = locked(["tensorflow"])
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    names = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines}
    assert {"keras", "tensorflow-cpu", "mlflow-skinny", "numpy", "onnxruntime"} <= names
    assert not names & {"torch", "jax", "pytest", "lookonce"}
    assert "tensorflow-cpu" not in {
        line.partition("==")[0] for line in locked(["tensorflow"], ["tensorflow-cpu"])
    }
