"""Which model a service takes: the one named, or the one that its surroundings hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookonce.errors import LookonceError
from lookonce.serving.server.model_file import find_model


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOOKONCE_MODEL", "AZUREML_MODEL_DIR"):
        monkeypatch.delenv(variable, raising=False)


def add(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_the_named_one_goes_before_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    add(tmp_path, "a.onnx", "b.cfg", "azure/c.onnx")
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path / "azure"))
    assert find_model(None) == tmp_path / "azure" / "c.onnx"
    monkeypatch.setenv("LOOKONCE_MODEL", str(tmp_path / "a.onnx"))
    assert find_model(None) == tmp_path / "a.onnx"
    assert find_model(str(tmp_path / "b.cfg")) == tmp_path / "b.cfg"


def test_onnx_goes_before_keras_however_deep(tmp_path: Path):
    add(tmp_path, "model.keras", "INPUT_model/1/outputs/model.onnx", "report.html")
    assert find_model(str(tmp_path)).name == "model.onnx"


def test_a_training_run_is_its_keras_file(tmp_path: Path):
    add(tmp_path, "model.keras", "model.cfg", "model.weights", "last/state.json", ".model.a1b2.keras")
    assert find_model(str(tmp_path)) == tmp_path / "model.keras"


def test_several_are_named_in_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    add(tmp_path, "b/two.onnx", "a/one.onnx", "model.keras")
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path))
    with pytest.raises(
        LookonceError, match=r"AZUREML_MODEL_DIR is .*2 \.onnx models: a/one\.onnx, b/two\.onnx\."
    ):
        find_model(None)


@pytest.mark.parametrize(
    ("place", "message"),
    [("nothing-there", "no such file or folder"), (".", r"holds no \.onnx or \.keras file")],
)
def test_a_wrong_path_is_reported_with_its_variable(
    tmp_path: Path, place: str, message: str, monkeypatch: pytest.MonkeyPatch
):
    add(tmp_path, "model.h5")
    monkeypatch.setenv("LOOKONCE_MODEL", str(tmp_path / place))
    with pytest.raises(LookonceError, match=rf"LOOKONCE_MODEL is .*{message}"):
        find_model(None)


def test_without_any_name_the_message_lists_the_ways():
    with pytest.raises(LookonceError, match=r"LOOKONCE_MODEL.*AZUREML_MODEL_DIR"):
        find_model(None)


def test_a_folder_of_very_many_files_is_not_searched_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lookonce.serving.server.model_file._MOST_FILES", 5)
    add(tmp_path, *(f"{index}.txt" for index in range(6)))
    with pytest.raises(LookonceError, match="more than 5 files"):
        find_model(str(tmp_path))
