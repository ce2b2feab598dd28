"""The drawn set is laid out as VoTT's exports are, and is the same for the same seed."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import pytest

from lookonce.labels.demo_set import CLASSES, HEIGHT, UNSEEN_PICTURES, WIDTH, make_demo_set, unseen_set


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_set(tmp_path_factory.mktemp("drawn"), pictures=10)


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


def test_same_seed_same_files_and_another_seed_others(export: Path, tmp_path: Path) -> None:
    assert digest(make_demo_set(tmp_path / "again", pictures=10)) == digest(export)
    assert digest(make_demo_set(tmp_path / "other", pictures=10, seed=1)) != digest(export)


def test_layout_is_votts(export: Path) -> None:
    assert export.name == "parts-PascalVOC-export"
    assert (export / "pascal_label_map.pbtxt").read_text().startswith("item {\n id: 1\n name: 'bolt'\n}\n")
    pictures = sorted(path.name for path in (export / "JPEGImages").iterdir())
    assert len(pictures) == 10
    for name in pictures:
        root = ElementTree.parse((export / "Annotations" / name).with_suffix(".xml")).getroot()
        assert root.get("verified") == "yes"
        assert root.findtext("filename") == name
    for tag in CLASSES:
        lists = {
            split: (export / f"ImageSets/Main/{tag}_{split}.txt").read_text() for split in ("val", "train")
        }
        assert [line.split()[0] for line in lists["val"].split("\n")] == pictures[:2]
        assert [line.split()[0] for line in lists["train"].split("\n")] == pictures[2:]
        assert {line.split()[1] for text in lists.values() for line in text.split("\n")} <= {"1", "-1"}


def test_boxes_are_floats_inside_the_picture_and_every_class_occurs(export: Path) -> None:
    found = boxes(export)
    assert {name for name, _ in found} == set(CLASSES)
    for _, (left, top, right, bottom) in found:
        assert 0 <= left < right <= WIDTH
        assert 0 <= top < bottom <= HEIGHT
        assert min(right - left, bottom - top) > 10
    assert any(value != int(value) for _, corners in found for value in corners)


def test_unseen_pictures_are_others(export: Path) -> None:
    unseen = unseen_set(export)
    pictures = list((unseen / "JPEGImages").iterdir())
    assert len(pictures) == UNSEEN_PICTURES
    seen = {path.read_bytes() for path in (export / "JPEGImages").iterdir()}
    assert not seen & {path.read_bytes() for path in pictures}
    assert cv2.imread(str(pictures[0])).shape == (HEIGHT, WIDTH, 3)
