"""`nms_kind` and `beta_nms` of a cfg, held against Darknet's and OpenCV's detections of a yolov4-tiny pair.

darknet_nms_kinds.json holds what AlexeyAB's `darknet detector test -thresh .25` found with the pair that
`write_pair` writes: rows of class, confidence, and the box as shares of the image.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lookonce.core.detections import Detections
from lookonce.darknet import parse_cfg, random_weights, read_cfg, write_weights
from lookonce.darknet.cfg import CfgError
from lookonce.export import export_onnx
from lookonce.inference import Detector

EXPECTED = json.loads(Path(__file__).with_name("darknet_nms_kinds.json").read_text())
KINDS = tuple(EXPECTED)


def write_pair(folder: Path, published: Path, kind: str) -> tuple[Path, Path]:
    """Write a yolov4-tiny of two classes whose random weights give overlapping detections."""
    beta = "0.3" if kind == "diounms" else "0.6"
    text = published.read_text().replace("nms_kind=greedynms", f"nms_kind={kind}")
    text = text.replace("classes=80", "classes=2").replace("filters=255", "filters=21")
    text = text.replace("beta_nms=0.6", f"beta_nms={beta}")
    cfg_file = folder / f"{kind}.cfg"
    cfg_file.write_text(text)
    cfg = read_cfg(cfg_file)
    weights = random_weights(cfg, 3)
    for head in cfg.heads:
        layer = weights.layers[head.layer - 1]
        gain = np.tile(np.r_[1, 1, 1, 1, 16, 16, 16], len(head.mask)).astype(np.float32)
        shift = np.tile(np.r_[0, 0, 0, 0, -4, -4, -4], len(head.mask)).astype(np.float32)
        weights.layers[head.layer - 1] = replace(
            layer, kernel=layer.kernel * gain[:, None, None, None], bias=layer.bias + shift
        )
    weights_file = folder / f"{kind}.weights"
    write_weights(weights_file, cfg, weights)
    return cfg_file, weights_file


@pytest.fixture
def published(shared: Path) -> Path:
    return shared / "weights" / "cfg" / "yolov4-tiny.cfg"


@pytest.fixture
def dog(shared: Path) -> Path:
    return shared / "images" / "dog.jpg"


def assert_same(found: Detections, expected: list[list[float]], tolerance: float) -> None:
    """Assert that detections and expected rows match one to one, in any order."""
    width, height = found.image_size
    boxes = found.boxes / np.array([width, height, width, height], np.float32)
    assert len(found) == len(expected)
    rows = np.array(expected)
    centre, half = rows[:, 2:4], rows[:, 4:6] / 2
    theirs = np.clip(np.concatenate([centre - half, centre + half], axis=1), 0, 1)
    left = list(range(len(found)))
    for row, box in zip(rows, theirs, strict=True):
        error = np.abs(boxes[left] - box).max(axis=1) + np.abs(found.scores[left] - row[1])
        error += 10 * (found.classes[left] != row[0])
        nearest = int(error.argmin())
        assert error[nearest] < tolerance
        left.pop(nearest)


@pytest.mark.parametrize("kind", KINDS)
def test_detections_are_darknets(kind: str, published: Path, dog: Path, tmp_path: Path):
    cfg, weights = write_pair(tmp_path, published, kind)
    found = Detector(cfg, weights=weights, resize="stretch", conf=0.25, iou=0.45).detect(dog)
    assert_same(found, EXPECTED[kind], 0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_graph_with_nms_inside_honours_the_kind(kind: str, published: Path, dog: Path, tmp_path: Path):
    cfg, weights = write_pair(tmp_path, published, kind)
    output = tmp_path / "boxes.onnx"
    export_onnx(cfg, output, weights=weights, resize="stretch", nms=True, conf=0.25, iou=0.45)
    inside = Detector(output, conf=0.25)
    assert inside.nms_inside
    assert_same(inside.detect(dog), EXPECTED[kind], 0.02)


def test_default_kind_is_opencvs(published: Path, dog: Path, tmp_path: Path):
    cfg, weights = write_pair(tmp_path, published, "default")
    # At the network's size, so that both see the same input: their resizes differ.
    image = cv2.resize(cv2.imread(str(dog)), (416, 416))
    model = cv2.dnn.DetectionModel(cv2.dnn.readNetFromDarknet(str(cfg), str(weights)))
    model.setInputParams(scale=1 / 255, size=(416, 416), swapRB=True)
    classes, scores, boxes = model.detect(image, confThreshold=0.25, nmsThreshold=0.45)
    found = Detector(cfg, weights=weights, conf=0.25, iou=0.45).detect(image[..., ::-1].copy())
    # OpenCV's NMS sees boxes in whole pixels: one pair lies too near to the threshold.
    assert 0 <= len(found) - len(scores) <= 1
    for label, score, (x, y, width, height) in zip(classes, scores, boxes, strict=True):
        box = np.clip([x, y, x + width, y + height], 0, 416)
        error = np.abs(found.boxes - box).max(axis=1) / 416 + np.abs(found.scores - score)
        assert error[found.classes == label].min() < 0.01


def test_an_unknown_kind_is_refused_by_name(published: Path):
    cfg = parse_cfg(published.read_text().replace("nms_kind=greedynms", "nms_kind=softnms"))
    with pytest.raises(CfgError, match="nms_kind"):
        _ = cfg.heads
