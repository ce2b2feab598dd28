"""Graphs made from cfg and weights: other sizes, other readers, boxes inside. Heads: test_parity.py."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from lookonce.core.boxes import iou_matrix
from lookonce.darknet import Cfg, ConvWeights, parse_cfg, random_weights, read_cfg, read_weights
from lookonce.inference import decode, nms
from lookonce.io.images import read_image
from lookonce.io.resize import to_input
from lookonce.models.onnx import network_graph, with_boxes, with_free_size

CFG = """[net]
height=32
width=48
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=ACTIVATION
[maxpool]
size=2
stride=2
[convolutional]
filters=21
size=1
activation=LAST
[yolo]
mask=0,1,2
anchors=10,14, 23,27, 37,58
classes=2
num=3
scale_x_y=1.2
new_coords=NEW
"""


def heads_of(graph: onnx.ModelProto, batch: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    return list(session.run(None, {"image": batch}))


def fastest(shared: Path) -> tuple[Cfg, dict[int, ConvWeights]]:
    path = shared / "weights" / "yolo-fastest" / "yolo-fastest-1.1.cfg"
    cfg = read_cfg(path)
    return cfg, read_weights(path.with_suffix(".weights"), cfg).layers


@pytest.mark.parametrize("activation", ["leaky", "mish", "swish", "relu", "relu6", "elu", "logistic", "tanh"])
def test_activations_match_their_names(activation: str):
    cfg = parse_cfg(CFG.replace("ACTIVATION", activation).replace("LAST", "linear").replace("NEW", "0"))
    layers = random_weights(cfg, seed=1).layers
    graph = network_graph(cfg, layers)
    del graph.graph.output[:]
    names = ("convolutional_000_sum", "convolutional_000")
    graph.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in names)
    batch = 4 * np.random.default_rng(0).standard_normal((1, 3, 32, 48), np.float32)
    before, after = heads_of(graph, batch)
    sigmoid, softplus = 1 / (1 + np.exp(-before)), np.log1p(np.exp(before))
    expected = {
        "leaky": np.where(before > 0, before, 0.1 * before),
        "mish": before * np.tanh(softplus),
        "swish": before * sigmoid,
        "relu": np.maximum(before, 0),
        "relu6": np.clip(before, 0, 6),
        "elu": np.where(before > 0, before, np.expm1(before)),
        "logistic": sigmoid,
        "tanh": np.tanh(before),
    }[activation]
    assert before.min() < -1 < 6 < before.max()
    np.testing.assert_allclose(after, expected, atol=1e-5)


def test_free_size_accepts_other_sizes(shared: Path):
    cfg, layers = fastest(shared)
    free = with_free_size(network_graph(cfg, layers))
    onnx.checker.check_model(free, full_check=True)
    batch = np.random.default_rng(0).random((3, 3, 160, 224), np.float32)
    fixed = network_graph(cfg, layers, input_size=(160, 224))
    for mine, theirs in zip(heads_of(free, batch), heads_of(fixed, batch), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_opencv_reads_it(shared: Path, tmp_path: Path):
    cfg, layers = fastest(shared)
    graph = network_graph(cfg, layers)
    onnx.save(graph, tmp_path / "raw.onnx")
    batch = np.random.default_rng(0).random((1, 3, *cfg.input_size), np.float32)
    net = cv2.dnn.readNetFromONNX(str(tmp_path / "raw.onnx"))
    net.setInput(batch)
    theirs = net.forward([output.name for output in graph.graph.output])
    for mine, other in zip(heads_of(graph, batch), theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)


@pytest.mark.parametrize("name", ["dog.jpg", "person.jpg", "horses.jpg"])
def test_boxes_inside_the_graph_equal_numpy_decoding(shared: Path, name: str):
    cfg, layers = fastest(shared)
    raw = network_graph(cfg, layers)
    inside = with_boxes(raw, cfg.heads, cfg.input_size, conf=0.25, iou=0.45)
    onnx.checker.check_model(inside, full_check=True)
    # The boxes' graph takes whole numbers only, so the raw one is shown the same.
    pixels, _ = to_input(read_image(shared / "images" / name), cfg.input_size, "stretch")
    whole = np.rint(pixels * 255).astype(np.uint8)
    grey = np.full_like(whole, 128)
    session = onnxruntime.InferenceSession(inside.SerializeToString())
    boxes, scores, classes, images = session.run(None, {"image": np.stack([grey, whole])})

    heads = heads_of(raw, np.ascontiguousarray((whole / np.float32(255)).transpose(2, 0, 1)[None]))
    found = decode([head[0].transpose(1, 2, 0) for head in heads], cfg.heads, cfg.input_size, 0.25)
    boxes_px, *others = found
    shares = boxes_px / np.array(cfg.input_size[::-1] * 2, np.float32)
    kept = nms(shares, *others, iou=0.45, kind=cfg.heads[-1].nms_kind)
    mine = np.flatnonzero(images == 1)
    mine = mine[np.argsort(-scores[mine], kind="stable")]
    assert len(mine) == len(kept) > 0
    np.testing.assert_array_equal(classes[mine], found[2][kept])
    np.testing.assert_allclose(scores[mine], found[1][kept], atol=1e-5)
    np.testing.assert_allclose(boxes[mine], found[0][kept], atol=1e-2)


@pytest.mark.parametrize(("last", "new"), [("linear", "0"), ("logistic", "1")])
def test_scale_x_y_and_new_coords_are_decoded_equally(last: str, new: str):
    cfg = parse_cfg(CFG.replace("ACTIVATION", "leaky").replace("LAST", last).replace("NEW", new))
    layers = random_weights(cfg, seed=4).layers
    raw = network_graph(cfg, layers)
    inside = with_boxes(raw, cfg.heads, cfg.input_size, conf=0.1, iou=1.0)
    batch = np.random.default_rng(0).integers(0, 256, (1, 32, 48, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(inside.SerializeToString())
    boxes, scores, classes, _ = session.run(None, {"image": batch})
    head = heads_of(raw, np.ascontiguousarray(batch.transpose(0, 3, 1, 2) / np.float32(255)))[0]
    expected = decode([head[0].transpose(1, 2, 0)], cfg.heads, cfg.input_size, 0.1)
    # With an overlap of 1 allowed, only exact doubles go.
    assert len(boxes) == len(expected[0]) > 100
    overlaps = np.where(classes[:, None] == expected[2], iou_matrix(boxes, expected[0]), 0)
    nearest = overlaps.argmax(axis=1)
    assert sorted(nearest) == list(range(len(nearest)))
    np.testing.assert_allclose(boxes, expected[0][nearest], atol=1e-3)
    np.testing.assert_allclose(scores, expected[1][nearest], atol=1e-5)
