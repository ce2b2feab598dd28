"""What `lookonce export` writes, read by the runtimes that it is written for."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from PIL import Image

from lookonce.cli.main import main
from lookonce.darknet import read_cfg, read_weights
from lookonce.errors import LookonceError
from lookonce.export import export_darknet, export_litert, export_onnx, export_openvino
from lookonce.inference import Detector
from lookonce.io.images import read_image
from lookonce.io.resize import to_input
from lookonce.models.cards import read_card
from lookonce.models.keras import save_model
from lookonce.models.open import open_model

NAME = "yolo-fastest-1.1"


@pytest.fixture(scope="module")
def pair(shared: Path) -> dict[str, Path]:
    folder = shared / "weights"
    cfg = folder / "yolo-fastest" / f"{NAME}.cfg"
    return {"model": cfg, "weights": cfg.with_suffix(".weights"), "classes": folder / "cfg" / "coco.names"}


@pytest.fixture(scope="module")
def keras_file(pair: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    network, card = open_model(pair["model"], weights=pair["weights"], classes=pair["classes"])
    path = tmp_path_factory.mktemp("model") / "fastest.keras"
    save_model(path, network, card)
    return path


@pytest.fixture(scope="module")
def batch(shared: Path) -> np.ndarray:
    return to_input(read_image(shared / "images" / "dog.jpg"), (320, 320), "letterbox")[0][None]


@pytest.fixture(scope="module")
def heads(pair: dict[str, Path], batch: np.ndarray) -> list[np.ndarray]:
    """The raw heads by Keras, (1, grid height, grid width, channels)."""
    network, _ = open_model(pair["model"], weights=pair["weights"])
    return [np.asarray(head) for head in network(batch, training=False)]


def options(pair: dict[str, Path]) -> list[str]:
    return ["--weights", str(pair["weights"]), "--classes", str(pair["classes"])]


def test_onnx_includes_the_card_and_needs_no_other_file(pair: dict[str, Path], tmp_path: Path, shared: Path):
    out = export_onnx(**pair, output=tmp_path / "m.onnx", resize="stretch")
    card = read_card(out)
    assert card is not None
    assert (card.name, card.input_size, card.resize, len(card.classes)) == (NAME, (320, 320), "stretch", 80)
    image = shared / "images" / "dog.jpg"
    theirs = Detector(
        pair["model"], weights=pair["weights"], classes=pair["classes"], resize="stretch", engine="keras"
    ).detect(image)
    mine = Detector(out).detect(image)
    assert [mine.names[label] for label in mine.classes] == [theirs.names[label] for label in theirs.classes]
    np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=0.05)
    np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-4)


def test_nms_inside_matches_the_detector(pair: dict[str, Path], tmp_path: Path, shared: Path):
    # Stretched: there, shares of the input are shares of the image, which greedynms measures distances in.
    raw = Detector(export_onnx(**pair, output=tmp_path / "raw.onnx", resize="stretch"))
    inside = Detector(export_onnx(**pair, output=tmp_path / "boxes.onnx", nms=True, resize="stretch"))
    images = sorted((shared / "images").glob("*.jpg"))
    for (_, mine), (_, theirs) in zip(inside.detect_many(images), raw.detect_many(images), strict=True):
        sure = theirs.scores > 0.35
        assert len(mine) >= sure.sum()
        # It sees whole numbers 0 to 255: boxes move by fractions of a pixel of the input.
        for label, box in zip(theirs.classes[sure], theirs.boxes[sure], strict=True):
            assert np.abs(mine.boxes[mine.classes == label] - box).max(axis=1).min() < 4
    with pytest.raises(LookonceError, match="NMS inside"):
        export_onnx(tmp_path / "boxes.onnx", tmp_path / "again.onnx")


def test_keras_file_is_converted_once(keras_file: Path, tmp_path: Path, monkeypatch, shared: Path):
    monkeypatch.setenv("LOOKONCE_CACHE", str(tmp_path / "cache"))
    first = Detector(keras_file).detect(shared / "images" / "dog.jpg")
    (kept,) = (tmp_path / "cache").glob("*.onnx")
    written = kept.stat().st_ctime_ns, kept.read_bytes()
    second = Detector(keras_file).detect(shared / "images" / "dog.jpg")
    assert kept.read_bytes() == written[1]
    np.testing.assert_array_equal(first.boxes, second.boxes)
    # What is kept is used: a cache with another model in it gives that model's answer.
    other = export_onnx(kept, tmp_path / "other.onnx", nms=True, conf=0.99)
    kept.write_bytes(other.read_bytes())
    assert len(Detector(keras_file).detect(shared / "images" / "dog.jpg")) < len(first)


def test_unwritable_cache_is_ignored(keras_file: Path, tmp_path: Path, monkeypatch, shared: Path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LOOKONCE_CACHE", str(tmp_path / "file" / "cache"))
    assert len(Detector(keras_file).detect(shared / "images" / "dog.jpg"))


def test_opencv_reads_exported_darknet_files(keras_file: Path, tmp_path: Path, pair: dict[str, Path]):
    cfg, weights, names = export_darknet(keras_file, tmp_path / "out" / "m.cfg")
    assert names.read_text().split("\n")[:2] == ["person", "bicycle"]
    original = read_weights(pair["weights"], read_cfg(pair["model"]))
    again = read_weights(weights, read_cfg(cfg))
    for index, layer in original.layers.items():
        for mine, theirs in zip(again.layers[index].arrays(), layer.arrays(), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    assert len(net.getUnconnectedOutLayersNames()) == 2


def test_openvino_runs_the_exported_file(need, pair: dict[str, Path], tmp_path: Path, batch, heads):
    openvino = need("openvino")
    out = export_openvino(**pair, output=tmp_path / "m.xml")
    network = openvino.Core().compile_model(str(out), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for mine, theirs in zip(network(batch).values(), heads, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)
    assert len(json.loads((tmp_path / "m.lookonce.json").read_text())["classes"]) == 80
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.lookonce.json", "m.xml"]


def test_litert_runs_the_exported_file(need, pair: dict[str, Path], tmp_path: Path, batch, heads):
    interpreter = need("ai_edge_litert.interpreter").Interpreter
    out = export_litert(**pair, output=tmp_path / "m.tflite")
    network = interpreter(model_path=str(out))
    network.allocate_tensors()
    network.set_tensor(network.get_input_details()[0]["index"], batch)
    network.invoke()
    found = [network.get_tensor(each["index"]) for each in network.get_output_details()]
    assert len(found) == len(heads)
    for theirs in heads:
        (mine,) = [each for each in found if each.shape == theirs.shape]
        np.testing.assert_allclose(mine, theirs, atol=1e-3)


def test_openvino_engine_matches_onnx_runtime(need, pair: dict[str, Path], shared: Path):
    need("openvino")
    image = shared / "images" / "dog.jpg"
    model, others = pair["model"], {"weights": pair["weights"], "classes": pair["classes"]}
    mine = Detector(model, **others, engine="openvino").detect(image)
    theirs = Detector(model, **others, engine="onnx").detect(image)
    np.testing.assert_array_equal(mine.classes, theirs.classes)
    np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=0.05)


@pytest.fixture(scope="module")
def labelled(shared: Path, pair: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample images, labelled with the detections of the float model, whose AP50 is then 1."""
    root = tmp_path_factory.mktemp("labelled")
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    detector = Detector(pair["model"], weights=pair["weights"], classes=pair["classes"], conf=0.4)
    stems = []
    for path in sorted((shared / "images").glob("*.jpg")):
        found = detector.detect(path)
        if not len(found):
            continue
        stems.append(path.stem)
        Image.open(path).save(root / "JPEGImages" / path.name)
        objects = "".join(
            f"<object><name>{found.names[label]}</name><bndbox><xmin>{box[0]:.0f}</xmin><ymin>{box[1]:.0f}"
            f"</ymin><xmax>{box[2]:.0f}</xmax><ymax>{box[3]:.0f}</ymax></bndbox></object>"
            for box, label in zip(found.boxes, found.classes, strict=True)
        )
        (root / "Annotations" / f"{path.stem}.xml").write_text(
            f"<annotation><filename>{path.name}</filename>{objects}</annotation>"
        )
    for name in ("train", "val"):
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(stems) + "\n")
    return root


def test_int8_is_refused_when_it_loses_too_much(pair, labelled: Path, tmp_path: Path, capsys):
    out = tmp_path / "int8.onnx"
    command = ["export", str(pair["model"]), *options(pair), "--int8", "--calibrate", str(labelled)]
    assert main([*command, "--output", str(out), "--max-drop", "-100"]) == 1
    assert "loses" in capsys.readouterr().err
    assert not out.exists()
    assert main([*command, "--output", str(out), "--max-drop", "-100", "--force"]) == 0
    message = capsys.readouterr().out
    assert "float: AP" in message
    assert "int8, heads in float" in message
    kinds = {node.op_type for node in onnx.load(out).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert out.stat().st_size < 0.7 * pair["weights"].stat().st_size
    assert Detector(out).card.classes[0] == "person"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--format", "darknet", "--nms"], "--nms goes with --format onnx"),
        (["--int8"], "--calibrate"),
        (["--calibrate", "."], "--int8"),
        (["--output", "m.txt"], "must end with .onnx"),
        (["--nms", "--dynamic-size"], "fixed input size"),
        (["--nms", "--conf", "25"], "from 0 to 1"),
        (["--format", "darknet"], "already"),
    ],
)
def test_contradicting_options_are_refused(pair, more: list[str], message: str, capsys, tmp_path: Path):
    target = (
        []
        if "--output" in more
        else ["--output", str(tmp_path / ("m.onnx" if "darknet" not in more else "m.cfg"))]
    )
    assert main(["export", str(pair["model"]), *options(pair), *more, *target]) == 1
    assert message in capsys.readouterr().err
