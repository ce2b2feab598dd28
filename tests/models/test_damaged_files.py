"""Damaged files by the hundred, and what they brought to light, one by one."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from lookonce.core.model_card import CARD_KEY, MAX_INPUT_PIXELS, ModelCard
from lookonce.darknet import parse_cfg, random_weights
from lookonce.darknet.cfg import CfgError
from lookonce.errors import LookonceError
from lookonce.inference import Detector
from lookonce.io.images import ImageError, read_image
from lookonce.models.cards import write_graph_card
from lookonce.models.onnx import network_graph, with_boxes
from lookonce.models.open import open_graph, open_model

pytestmark = pytest.mark.slow

FUZZ = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz.py"
CFG = """[net]
height=32
width=32
channels=3
[convolutional]
filters=7
size=3
stride=8
pad=1
activation=linear
[yolo]
mask=0
anchors=10,10
num=1
classes=2
"""
IMAGE = np.zeros((20, 30, 3), np.uint8)


def card(**changes) -> ModelCard:
    values = {"name": "small", "classes": ("a", "b"), "input_size": (32, 32), "resize": "stretch", "cfg": CFG}
    return ModelCard(**{**values, **changes})


def written(path: Path, card: ModelCard, boxes: bool = False) -> tuple[Path, onnx.ModelProto]:
    cfg = parse_cfg(CFG)
    graph = network_graph(cfg, random_weights(cfg, 0).layers)
    if boxes:
        graph = with_boxes(graph, cfg.heads, (32, 32), 0.0, 0.45)
    write_graph_card(graph, card)
    path.write_bytes(graph.SerializeToString())
    return path, graph


def test_hundreds_of_damaged_files_are_read_or_reported(shared: Path):
    command = [sys.executable, str(FUZZ), "--images", "300", "--models", "60", "--seed", "1"]
    done = subprocess.run(
        [*command, "--shared", str(shared)], capture_output=True, text=True, timeout=300, env=os.environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "images: 300" in done.stdout
    assert "models: 60" in done.stdout


def test_undamaged_small_model_detects(tmp_path: Path):
    for boxes in (False, True):
        path, _ = written(tmp_path / "small.onnx", card(), boxes)
        assert len(Detector(path, conf=0.0).detect(IMAGE)) > 0


@pytest.mark.parametrize("boxes", [False, True])
def test_card_of_another_network_is_refused(tmp_path: Path, boxes: bool):
    other = CFG.replace("filters=7", "filters=8").replace("classes=2", "classes=3")
    path, _ = written(tmp_path / "mixed_up.onnx", card(cfg=other, classes=("a", "b", "c")), boxes)
    if boxes:
        path, _ = written(
            tmp_path / "mixed_up.onnx", card(cfg=CFG.replace("classes=2", "classes=1"), classes=("a",)), True
        )
    with pytest.raises(LookonceError, match=r"mixed_up\.onnx.*Export the model again"):
        Detector(path, conf=0.0).detect(IMAGE)


def test_card_whose_names_do_not_match_its_cfg_is_refused(tmp_path: Path):
    path, _ = written(tmp_path / "names.onnx", card(classes=("a",)))
    with pytest.raises(LookonceError, match=r"names\.onnx.*1 classes.*2"):
        Detector(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_size", ["32", 32]),
        ("input_size", [32]),
        ("input_size", 32),
        ("input_size", [-32, 32]),
        ("input_size", [2**20, 2**20]),
        ("classes", "ab"),
        ("classes", [1, 2]),
        ("cfg", None),
        ("name", 7),
    ],
)
def test_card_with_a_value_of_the_wrong_type_is_damaged(key: str, value: object):
    values = {**json.loads(card().to_json()), key: value}
    with pytest.raises(LookonceError, match=r"here\.onnx: lookonce\.json is damaged"):
        ModelCard.from_json(json.dumps(values), "here.onnx")


def test_input_size_beyond_memory_is_refused():
    big = parse_cfg(CFG.replace("width=32", f"width={MAX_INPUT_PIXELS}"))
    with pytest.raises(CfgError, match="height=32, width=16777216"):
        _ = big.input_size


def test_network_that_fails_while_running_is_reported(tmp_path: Path):
    path, graph = written(tmp_path / "fails.onnx", card())
    side = graph.graph.input[0].type.tensor_type.shape.dim[2]
    side.dim_value = 64
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(LookonceError, match=r"fails\.onnx: ONNX Runtime can't run it.*Export it again"):
        Detector(path).detect(IMAGE)


def test_metadata_that_is_not_text_is_reported(tmp_path: Path):
    path, _ = written(tmp_path / "bytes.onnx", card(name="§§§§"))
    path.write_bytes(path.read_bytes().replace("§§§§".encode(), b"\xff" * 8))
    with pytest.raises(LookonceError, match=r"bytes\.onnx: ONNX Runtime can't run it"):
        Detector(path)


def test_huge_files_are_not_read(tmp_path: Path):
    # Sparse files: they take no disk space.
    for name in ("huge.jpg", "huge.onnx"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**40)
    with pytest.raises(ImageError, match=r"huge\.jpg"):
        read_image(tmp_path / "huge.jpg")
    with pytest.raises(LookonceError, match=r"huge\.onnx"):
        open_graph(tmp_path / "huge.onnx")


def test_a_small_keras_file_that_unpacks_to_gigabytes_is_refused(tmp_path: Path):
    path = tmp_path / "bomb.keras"
    block = bytes(2**24)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(CARD_KEY, card().to_json())
        archive.writestr("config.json", "{}")
        with archive.open("model.weights.h5", "w", force_zip64=True) as entry:
            for _ in range(140):
                entry.write(block)
    assert path.stat().st_size < 20_000_000
    with pytest.raises(LookonceError, match=r"bomb\.keras: unpacks to 2,348,810,"):
        open_model(path)
