"""`lookonce weights`: inspect files, download base weights."""

import argparse
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lookonce.cli import weights as command
from lookonce.cli.main import main
from lookonce.core.model_card import ModelCard
from lookonce.darknet import generate, random_weights, write_weights
from lookonce.errors import LookonceError
from lookonce.models.cards import write_graph_card
from lookonce.models.onnx import network_graph


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["weights", *map(str, arguments)])
    return int(parsed.run(parsed))


def test_inspect_uses_the_cfg_beside_the_weights(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", shared / "weights" / "yolo-fastest" / "yolo-fastest-1.1-xl.weights", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["complete"] is True
    assert report["layers"][0]["kernel"] == [16, 3, 3, 3]
    assert sum(layer["floats"] for layer in report["layers"]) == report["floats"] == (3_693_964 - 20) // 4


def test_inspect_reports_where_a_partial_file_ends(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = shared / "weights"
    file = weights / "yolov3-tiny-partial" / "yolov3-tiny.real-first5.weights"
    assert run("inspect", file, "--cfg", weights / "cfg" / "yolov3-tiny.cfg") == 0
    out = capsys.readouterr().out
    assert "partial" in out
    assert "256 x 128 x 3 x 3" in out


def test_inspect_finds_the_known_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = generate("yolov3-tiny", 20)
    write_weights(tmp_path / "a.weights", cfg, random_weights(cfg, 0))
    assert run("inspect", tmp_path / "a.weights") == 0
    assert "read with yolov3-tiny.cfg; all layers" in capsys.readouterr().out


def test_inspect_requires_the_cfg_of_an_unknown_network(tmp_path: Path) -> None:
    cfg = generate("yolov3-tiny", 7)
    write_weights(tmp_path / "a.weights", cfg, random_weights(cfg, 0))
    with pytest.raises(LookonceError, match="--cfg FILE"):
        run("inspect", tmp_path / "a.weights")


def test_inspect_prints_the_card_of_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = ModelCard("cats", ("cat", "[dog]"), (320, 416), "letterbox", "[net]\n", metrics={"AP50": 0.5})
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("lookonce.json", card.to_json())
    assert run("inspect", tmp_path / "model.keras") == 0
    out = capsys.readouterr().out
    assert "2: cat, [dog]" in out
    assert "416 x 320" in out
    assert "AP50: 0.5" in out
    assert run("inspect", tmp_path / "model.keras", "--json") == 0
    assert ModelCard.from_json(capsys.readouterr().out, "out") == card


def test_inspect_prints_the_card_of_an_onnx_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = generate("yolov3-tiny", 2, input_size=(64, 64))
    graph = network_graph(cfg, random_weights(cfg, 0).layers)
    write_graph_card(graph, ModelCard("cats", ("cat", "dog"), (64, 64), "letterbox", cfg.text))
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    assert run("inspect", tmp_path / "model.onnx") == 0
    assert "2: cat, dog" in capsys.readouterr().out


def test_inspect_reports_a_damaged_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(LookonceError, match=r"model\.onnx"):
        run("inspect", tmp_path / "model.onnx")


def test_inspect_refuses_a_foreign_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(LookonceError, match=r"has no lookonce\.json inside"):
        run("inspect", tmp_path / "other.keras")


def test_get_refuses_unknown_names_and_invalid_urls(tmp_path: Path) -> None:
    with pytest.raises(LookonceError, match="yolo"):
        run("get", "yolo", "--output", tmp_path)
    with pytest.raises(LookonceError, match="URL"):
        run("get", "yolov3-tiny", "--output", tmp_path, "--base-url", "nonsense")


def test_importing_the_command_loads_nothing_heavy() -> None:
    code = (
        "import lookonce.cli.weights, sys; print([m for m in ('numpy', 'rich', 'keras') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_file_cut_after_any_convolution_is_recognised(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = shared / "weights" / "yolov3-tiny-partial" / "yolov3-tiny.real-first5.weights"
    assert main(["weights", "inspect", str(file)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "read with yolov3-tiny.cfg; partial" in printed
