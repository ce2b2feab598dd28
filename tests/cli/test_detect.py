import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookonce.cli.main import main
from lookonce.core.boxes import iou_matrix

CASES = [
    ("yolo-fastest-1.1-xl", "stretch"),
    ("yolo-fastest-1.1-xl", "letterbox"),
    ("yolo-fastest-1.1", "stretch"),
    ("yolo-fastest-1.1", "letterbox"),
]


def model_of(shared: Path, name: str = "yolo-fastest-1.1-xl") -> list[str]:
    folder = shared / "weights"
    cfg = folder / "yolo-fastest" / f"{name}.cfg"
    names = str(folder / "cfg" / "coco.names")
    return [str(cfg), "--weights", str(cfg.with_suffix(".weights")), "--classes", names]


def test_finds_what_darknets_program_finds_with_the_cfgs_own_nms(shared: Path, tmp_path: Path):
    """`darknet detector test -thresh .25` of AlexeyAB's version on dog.jpg, in per cent."""
    darknet = {
        ("bicycle", 55),
        ("bicycle", 29),
        ("car", 88),
        ("car", 44),
        ("car", 37),
        ("cat", 55),
        ("dog", 65),
    }
    darknet.add(("person", 33))
    model, *options = model_of(shared, "yolo-fastest-1.1")
    found = tmp_path / "found.json"
    more = ["--resize", "stretch", "--conf", "0.25", "--json", str(found), "--output", "none"]
    assert main(["detect", model, str(shared / "images" / "dog.jpg"), *options, *more]) == 0
    boxes = json.loads(found.read_text())[0]["boxes"]
    assert len(boxes) == len(darknet)
    for label, per_cent in darknet:
        assert any(one["label"] == label and abs(100 * one["score"] - per_cent) < 2 for one in boxes), label


@pytest.mark.parametrize(("name", "resize"), CASES)
def test_finds_what_darknet_finds(shared: Path, tmp_path: Path, name: str, resize: str):
    published, *options = model_of(shared, name)
    # The reference has Darknet's raw heads with plain NMS.
    model = str(tmp_path / f"{name}.cfg")
    Path(model).write_text(Path(published).read_text().replace("nms_kind=greedynms", "nms_kind=default"))
    found_file, drawn = tmp_path / "found.json", tmp_path / "drawn"
    source = str(shared / "images")
    more = ["--resize", resize, "--conf", "0.25", "--json", str(found_file), "--output", str(drawn)]
    assert main(["detect", model, source, *options, *more]) == 0
    reference = json.loads((shared / "reference" / "detections_thresh0.25_nms0.45.json").read_text())
    here = {path.name for path in (shared / "images").glob("*.jpg")}
    expected = {
        one["image"]: one["dets"] for one in reference[f"{name} {resize} AlexeyAB"] if one["image"] in here
    }
    results = {one["filename"]: one for one in json.loads(found_file.read_text())}
    assert sorted(results) == sorted(expected)
    for image, dets in expected.items():
        boxes = results[image]["boxes"]
        # A score within rounding of the threshold may fall on either side.
        sure = [one for one in dets if one["prob"] > 0.26]
        assert len(boxes) >= len(sure)
        assert len(boxes) <= len(dets) + sum(one["score"] < 0.26 for one in boxes)
        for det in sure:
            half = np.array([det["bw"], det["bh"]]) / 2
            centre = np.array([det["cx"], det["cy"]])
            box = np.clip(np.concatenate([centre - half, centre + half]), 0, 1)[None]
            same = [one for one in boxes if one["label"] == det["name"]]
            corners = np.array([list(one["box"].values()) for one in same])
            overlaps = iou_matrix(box, corners)[0]
            assert overlaps.max() >= 0.98, (image, det["name"])
            # A different JPEG decoder than Darknet's: its noise shifts low scores by up to 0.01.
            near = 0.01 if image == "dog.jpg" or (image, resize) == ("person.jpg", "stretch") else 0.03
            assert abs(same[overlaps.argmax()]["score"] - det["prob"]) < near
    assert sorted(path.name for path in drawn.iterdir()) == sorted(expected)


def test_an_unreadable_image_is_named_and_the_rest_goes_on(shared: Path, tmp_path: Path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"no image")
    Image.new("RGB", (60, 40)).save(folder / "b.png")
    Image.new("RGB", (60, 40)).save(folder / "c.gif")
    model, *options = model_of(shared, "yolo-fastest-1.1")
    out, found = tmp_path / "out", tmp_path / "found.json"
    assert main(["detect", model, str(folder), *options, "--output", str(out), "--json", str(found)]) == 1
    printed = capsys.readouterr()
    assert "a.jpg" in printed.err
    assert "1 could not be read" in printed.out
    assert [one["filename"] for one in json.loads(found.read_text())] == ["b.png", "c.gif"]
    assert sorted(path.name for path in out.iterdir()) == ["b.png", "c.gif.jpg"]


def test_images_are_never_overwritten(tmp_path: Path, capsys):
    Image.new("RGB", (60, 40)).save(tmp_path / "b.png")
    assert main(["detect", "model.keras", str(tmp_path), "--output", str(tmp_path)]) == 1
    assert "overwrite" in capsys.readouterr().err


def test_one_output_file_wants_one_image(tmp_path: Path, capsys):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 40)).save(tmp_path / name)
    assert main(["detect", "model.keras", str(tmp_path), "--output", str(tmp_path / "x.jpg")]) == 1
    assert "folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["detect", "model.keras"], ["score"]])
def test_two_images_never_share_a_drawn_copy(tmp_path: Path, capsys, command: list[str]):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.gif", "a.gif.jpg"):
        Image.new("RGB", (60, 40)).save(folder / name)
    assert main([*command, str(folder), "--output", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().err
    assert "a.gif.jpg" in printed
    assert "rename" in printed
