"""The same numbers as Darknet itself, and as OpenCV's own reading of cfg and weights (-s prints them)."""

from dataclasses import replace

import cv2
import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from lookonce.darknet import parse_cfg, plan, random_weights, read_cfg, read_weights, write_weights, zoo
from lookonce.models.keras import build, load_darknet
from lookonce.models.onnx import network_graph

REFERENCES = (
    "letterbox_alexeyab_dog",
    "letterbox_pjreddie_dog",
    "stretch_alexeyab_dog",
    "stretch_alexeyab_person",
)
FAMILY = "yolo-fastest-1.1-xl"
SIZE = (128, 192)

# What no zoo model has: groups other than depthwise, an odd pool, several `from`, swish next to mish, relu.
MIXED = """[net]
height=96
width=128
channels=3
[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=mish
[route]
layers=-1
groups=2
group_id=1
[convolutional]
batch_normalize=1
filters=8
groups=4
size=3
stride=1
pad=1
activation=swish
[shortcut]
from=-2
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
batch_normalize=1
filters=8
groups=8
size=5
stride=1
pad=1
activation=relu
[upsample]
stride=2
[route]
layers=-1,0
[convolutional]
filters=14
size=1
stride=1
pad=1
activation=logistic
[yolo]
mask=0,1
anchors=10,14, 23,27
classes=2
num=2
new_coords=1
scale_x_y=2.0
"""


def ours(cfg, layers, image):
    model = build(cfg)
    load_darknet(model, layers)
    out = model(image, training=False)
    return [keras.ops.convert_to_numpy(head) for head in (out if isinstance(out, (list, tuple)) else [out])]


def in_onnx_runtime(cfg, layers, image):
    graph = network_graph(cfg, layers)
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    heads = session.run(None, {"image": np.ascontiguousarray(image.transpose(0, 3, 1, 2))})
    return [head.transpose(0, 2, 3, 1) for head in heads]


def opencv(cfg_path, weights_path, image, indices):
    """The outputs of the cfg layers `indices`, after a logistic activation, as NHWC."""
    net = cv2.dnn.readNetFromDarknet(str(cfg_path), str(weights_path))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    # OpenCV counts an activation as one later than its convolution.
    names = set(net.getLayerNames())
    heads = [f"logistic_{i + 1}" if f"logistic_{i + 1}" in names else f"conv_{i}" for i in indices]
    net.setInput(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
    return [out.transpose(0, 2, 3, 1) for out in net.forward(heads)]


def as_pjreddie(variance):
    """v' with sqrt(v' + 1e-5) = sqrt(v) + 1e-6: pjreddie's CPU code adds epsilon outside the root."""
    return (np.sqrt(variance) + np.float32(1e-6)) ** 2 - np.float32(1e-5)


def as_opencv(variance):
    """v' with v' + 1e-5 = v + 1e-6: the epsilon that OpenCV takes."""
    return variance - np.float32(9e-6)


def with_variance(layers, change):
    return {
        index: layer if layer.variance is None else replace(layer, variance=change(layer.variance))
        for index, layer in layers.items()
    }


def head_inputs(cfg):
    return [layer.inputs[0] for layer in plan(cfg) if layer.section.kind == "yolo"]


def compare_with_opencv(cfg, name, tmp_path):
    weights = random_weights(cfg, seed=11)
    (tmp_path / "m.cfg").write_text(cfg.text)
    write_weights(tmp_path / "m.weights", cfg, weights)
    image = np.random.default_rng(3).random((1, *cfg.input_size, 3), np.float32)
    expected = opencv(tmp_path / "m.cfg", tmp_path / "m.weights", image, head_inputs(cfg))
    (tmp_path / "m.weights").unlink()
    layers = with_variance(weights.layers, as_opencv)
    found, exported = ours(cfg, layers, image), in_onnx_runtime(cfg, layers, image)
    assert len(found) == len(exported) == len(expected)
    for index, mine, onnxs, theirs in zip(head_inputs(cfg), found, exported, expected, strict=True):
        assert mine.shape == onnxs.shape == theirs.shape
        assert np.abs(mine - onnxs).max() < 1e-4 * np.abs(theirs).max()
        scale = np.abs(theirs).max()
        worst = np.abs(mine - theirs).max()
        print(
            f"{name} layer {index}: max abs {worst:.2e} of values up to {scale:.3g}, std {theirs.std():.2g}"
        )
        assert theirs.std() > 1e-3
        assert worst < 1e-4 * scale


@pytest.mark.parametrize("reference", REFERENCES)
def test_raw_heads_are_darknets(shared, reference):
    folder = shared / "weights" / "yolo-fastest"
    cfg = read_cfg(folder / f"{FAMILY}.cfg")
    weights = read_weights(folder / f"{FAMILY}.weights", cfg)
    arrays = np.load(shared / "reference" / f"{FAMILY}_{reference}.npz")
    layers = with_variance(weights.layers, as_pjreddie) if "pjreddie" in reference else weights.layers
    image = arrays["input_chw"].transpose(1, 2, 0)[None]
    for name, run in (("Keras", ours), ("ONNX", in_onnx_runtime)):
        found = run(cfg, layers, image)
        assert len(found) == 2
        for index, head in zip(head_inputs(cfg), found, strict=True):
            worst = np.abs(head[0].transpose(2, 0, 1) - arrays[f"layer{index}_rawconv_chw"]).max()
            print(f"{reference} layer {index}, {name}: max abs {worst:.2e}")
            assert worst < 1e-3


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_architecture_is_opencvs(name, tmp_path):
    cfg = zoo.generate(name, classes=3, input_size=SIZE)
    compare_with_opencv(cfg, name, tmp_path)


def test_groups_odd_pools_and_logistic_heads_are_opencvs(tmp_path):
    compare_with_opencv(parse_cfg(MIXED, "mixed.cfg"), "mixed", tmp_path)
