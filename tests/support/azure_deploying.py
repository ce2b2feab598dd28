"""Fixtures for tests of `lookonce deploy` in Azure: a working folder, a model, the command."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from azure_stand_in.endpoint_place import INFERENCE_SERVER
from azure_stand_in.stand_in import StandIn
from lookonce.cli.main import main
from lookonce.export import export_onnx
from requirements import missing
from serving_process import fastest


@dataclass
class Ran:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def printed(self) -> str:
        return self.out + self.err


class Desk:
    """A folder with config.json, model.onnx and dog.jpg, in which `lookonce` runs in this process."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capture = folder, capture

    def lookonce(self, *words: str) -> Ran:
        self._capture.readouterr()
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            code = main(words)
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os.chdir(before)
        out, err = self._capture.readouterr()
        return Ran(code, out, err)


@pytest.fixture(scope="session")
def detector_file(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export a small detector that detects dogs."""
    cfg, _, weights, _, classes = fastest(shared)
    return export_onnx(
        cfg, tmp_path_factory.mktemp("detector") / "model.onnx", weights=weights, classes=classes
    )


@pytest.fixture
def desk(
    stand_in: StandIn,
    detector_file: Path,
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    if not INFERENCE_SERVER.exists():
        missing(f"azureml-inference-server-http is not installed in {INFERENCE_SERVER.parents[1]}")
    for name in ("WEBSERVICE_KEY", "SCORING_URI", "LOOKONCE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(stand_in.config, tmp_path / "config.json")
    shutil.copy(detector_file, tmp_path / "model.onnx")
    shutil.copy(shared / "images" / "dog.jpg", tmp_path / "dog.jpg")
    return Desk(tmp_path, capsys)
