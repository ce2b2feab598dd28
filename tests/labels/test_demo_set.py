"""The demo set has VoTT's layout and depends on the seed only."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import pytest

from lookonce.labels.demo_set import CLASSES, HEIGHT, HELD_OUT_IMAGES, WIDTH, held_out_set, make_demo_set


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_set(tmp_path_factory.mktemp("drawn"), images=10)


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def boxes(export: Path) -> list[tuple[str, list[float]]]:
    found = []
    for path in sorted((export / "Annotations").glob("*.xml")):
        for item in ElementTree.parse(path).getroot().iter("object"):
            corners = item.find("bndbox")
            assert corners is not None
            found.append((item.findtext("name", ""), [float(edge.text or "") for edge in corners]))
    return found


def test_files_depend_on_the_seed_only(export: Path, tmp_path: Path) -> None:
    assert digest(make_demo_set(tmp_path / "again", images=10)) == digest(export)
    assert digest(make_demo_set(tmp_path / "other", images=10, seed=1)) != digest(export)


def test_layout_matches_vott(export: Path) -> None:
    assert export.name == "parts-PascalVOC-export"
    assert (export / "pascal_label_map.pbtxt").read_text().startswith("item {\n id: 1\n name: 'bolt'\n}\n")
    images = sorted(path.name for path in (export / "JPEGImages").iterdir())
    assert len(images) == 10
    for name in images:
        root = ElementTree.parse((export / "Annotations" / name).with_suffix(".xml")).getroot()
        assert root.get("verified") == "yes"
        assert root.findtext("filename") == name
    for tag in CLASSES:
        lists = {
            split: (export / f"ImageSets/Main/{tag}_{split}.txt").read_text() for split in ("val", "train")
        }
        assert [line.split()[0] for line in lists["val"].split("\n")] == images[:2]
        assert [line.split()[0] for line in lists["train"].split("\n")] == images[2:]
        assert {line.split()[1] for text in lists.values() for line in text.split("\n")} <= {"1", "-1"}


def test_boxes_are_floats_inside_the_image_and_every_class_occurs(export: Path) -> None:
    found = boxes(export)
    assert {name for name, _ in found} == set(CLASSES)
    for _, (left, top, right, bottom) in found:
        assert 0 <= left < right <= WIDTH
        assert 0 <= top < bottom <= HEIGHT
        assert min(right - left, bottom - top) > 10
    assert any(value != int(value) for _, corners in found for value in corners)


def test_held_out_images_differ(export: Path) -> None:
    unseen = held_out_set(export)
    images = list((unseen / "JPEGImages").iterdir())
    assert len(images) == HELD_OUT_IMAGES
    training = {path.read_bytes() for path in (export / "JPEGImages").iterdir()}
    assert not training & {path.read_bytes() for path in images}
    assert cv2.imread(str(images[0])).shape == (HEIGHT, WIDTH, 3)
