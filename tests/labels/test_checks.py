"""Dataset checks: each defect is found and repaired, dropped or fatal."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lookonce.io.images import read_image
from lookonce.labels import CheckedDataset, Dataset, Finding, LabelError, check, fatal
from lookonce.labels.examine import rotate_boxes

Box = tuple[str, float, float, float, float]


def add(
    root: Path,
    name: str,
    boxes: list[Box],
    size: tuple[int, int] = (60, 40),
    exif: int = 1,
    image: bool = True,
) -> None:
    """Write a 60x40 image of a random colour with boxes."""
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for label, x1, y1, x2, y2 in boxes
    )
    size_tag = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size_tag}{objects}</annotation>")
    if image:
        tags = Image.Exif()
        tags[0x0112] = exif
        colour = tuple(np.random.default_rng(len(list(root.rglob("*")))).integers(0, 256, 3).tolist())
        Image.new("RGB", (60, 40), colour).save(root / "JPEGImages" / f"{name}.jpg", exif=tags)


def checked(root: Path, **options: object) -> CheckedDataset:
    return check(Dataset.open(root), **options)  # type: ignore[arg-type]


def outcomes_of(result: CheckedDataset, outcome: str) -> list[Finding]:
    return [finding for finding in result.findings if finding.outcome == outcome]


CAR: Box = ("car", 5, 5, 20, 20)


def test_bccd_has_exactly_its_two_boxes_without_area(shared: Path) -> None:
    calls: list[tuple[int, int]] = []
    result = check(
        Dataset.open(shared / "data" / "bccd"), progress=lambda *call: calls.append(call), full=True
    )
    assert [(Path(finding.file).stem, finding.outcome) for finding in result.findings] == [
        ("BloodImage_00338", "dropped"),
        ("BloodImage_00343", "dropped"),
    ]
    assert "no area" in result.findings[0].what
    assert "504 337" in result.findings[0].what
    assert np.bincount(np.concatenate([record.classes for record in result.records])).tolist() == [
        4153,
        372,
        361,
    ]
    assert calls[-1] == (364, 364)
    assert result.dropped == set()
    fatal(result)


def test_nuts_has_an_unused_class_and_one_box_for_every_label(shared: Path) -> None:
    result = check(Dataset.open(shared / "data" / "nuts_vott"))
    assert [(finding.object, finding.outcome) for finding in result.findings] == [("springwasher", "note")]
    assert sum(len(record.boxes) for record in result.records) == 363


def test_png_frames_under_jpg_names_are_a_note(shared: Path) -> None:
    result = check(Dataset.open(shared / "data" / "nuts_vott_original_bytes"))
    assert [finding.what for finding in result.findings] == ["holds PNG data but is named .jpg"] * 7


def test_boxes_are_clipped_swapped_and_dropped(tmp_path: Path) -> None:
    boxes: list[Box] = [
        CAR,
        ("car", -5, 10, 30, 50),  # extends outside
        ("car", 70, 10, 90, 30),  # entirely outside
        CAR,  # duplicate
        ("car", 30, 30, 10, 20),  # corners swapped
        ("car", 10, 10, 10, 30),  # no width
        ("dog", 5, 5, 20, 20),  # another class in the same place stays
        ("car", 0, 0, 60.00000000000006, 40),  # a rounding error is no finding
    ]
    add(tmp_path, "a", boxes)
    result = checked(tmp_path)
    assert result.class_names == ("car", "dog")
    assert result.records[0].boxes.tolist() == [
        [5, 5, 20, 20],
        [0, 10, 30, 40],
        [10, 20, 30, 30],
        [5, 5, 20, 20],
        [0, 0, 60, 40],
    ]
    assert result.records[0].classes.tolist() == [0, 0, 0, 1, 0]
    assert [finding.object.split("object ")[1] for finding in result.findings] == [
        "2)",
        "3)",
        "4)",
        "5)",
        "6)",
    ]
    assert [finding.outcome for finding in result.findings] == [
        "repaired",
        "dropped",
        "dropped",
        "repaired",
        "dropped",
    ]


def test_unknown_class_is_fatal_and_suggests_a_similar_name(tmp_path: Path) -> None:
    add(tmp_path, "a", [CAR, ("Dog", 1, 1, 9, 9)])
    (tmp_path / "custom_classes.txt").write_text("car\ndog\n")
    result = checked(tmp_path)
    (finding,) = outcomes_of(result, "fatal")
    assert (finding.file, finding.object) == ("Annotations/a.xml", "Dog")
    assert "is 'dog' meant?" in finding.what
    assert "1 boxes in 1 images" in finding.what
    with pytest.raises(LabelError, match=r"1 problem.*\n.*'Dog'"):
        fatal(result)


def test_given_classes_keep_their_order(tmp_path: Path) -> None:
    add(tmp_path, "a", [CAR, ("dog", 1, 1, 9, 9)])
    assert checked(tmp_path, class_names=["dog", "car"]).records[0].classes.tolist() == [1, 0]
    assert len(outcomes_of(checked(tmp_path, class_names=["dog"]), "fatal")) == 1


def test_dataset_without_boxes_is_fatal(tmp_path: Path) -> None:
    add(tmp_path, "a", [])
    result = checked(tmp_path)
    assert "used as background" in outcomes_of(result, "note")[0].what
    with pytest.raises(LabelError, match="no usable box"):
        fatal(result)


def test_unusable_images_are_dropped_and_stay_aligned(tmp_path: Path) -> None:
    add(tmp_path, "a", [CAR])
    add(tmp_path, "b_missing", [CAR], image=False)
    add(tmp_path, "c_cut", [CAR])
    add(tmp_path, "d_text", [CAR])
    add(tmp_path, "f", [CAR])
    Image.new("RGB", (9, 9)).save(tmp_path / "JPEGImages" / "e_unlabelled.jpg")
    cut = tmp_path / "JPEGImages" / "c_cut.jpg"
    cut.write_bytes(cut.read_bytes()[:-30])
    (tmp_path / "JPEGImages" / "d_text.jpg").write_text("text")
    result = checked(tmp_path)
    assert result.dropped == {1, 2, 3, 4}
    assert result.indices(range(6)) == [0, 5]
    assert [record.name[0] for record in result.records] == list("abcdef")
    assert all(min(record.size) > 0 and len(record.boxes) == len(record.classes) for record in result.records)
    whats = [finding.what for finding in outcomes_of(result, "dropped")]
    assert [
        "missing" in whats[0],
        "truncated" in whats[1],
        "not a readable" in whats[2],
        "no label" in whats[3],
    ] == [True] * 4
    fatal(result)


def test_full_check_finds_damage_in_the_middle(tmp_path: Path) -> None:
    add(tmp_path, "a", [CAR])
    path = tmp_path / "JPEGImages" / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path, "PNG")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert checked(tmp_path).dropped == set()
    assert checked(tmp_path, full=True).dropped == {0}


def test_invalid_label_files_are_fatal_and_all_reported(tmp_path: Path) -> None:
    for name in "abcdefg":
        add(tmp_path, name, [CAR])
    for name in "bcdefg":
        (tmp_path / "Annotations" / f"{name}.xml").write_text("<annotation>")
    result = checked(tmp_path)
    assert [finding.file for finding in outcomes_of(result, "fatal")] == [
        f"Annotations/{name}.xml" for name in "bcdefg"
    ]
    with pytest.raises(LabelError, match=r"6 problems(?s:.*)b\.xml(?s:.*)and 1 more"):
        fatal(result)


def test_image_size_overrides_a_wrong_size_tag(tmp_path: Path) -> None:
    add(tmp_path, "a", [CAR], size=(600, 400))
    result = checked(tmp_path)
    assert result.records[0].size == (60, 40)
    assert "600 x 400" in outcomes_of(result, "repaired")[0].what


def test_labels_of_the_stored_image_are_rotated_with_it(tmp_path: Path) -> None:
    add(tmp_path, "a", [CAR], exif=6)
    result = checked(tmp_path)
    assert result.records[0].size == (40, 60)
    assert result.records[0].boxes.tolist() == [[20, 5, 35, 20]]
    assert "swapped by EXIF" in outcomes_of(result, "repaired")[0].what


def test_labels_of_the_rotated_image_stay(tmp_path: Path) -> None:
    add(tmp_path, "a", [CAR], exif=6, size=(40, 60))
    result = checked(tmp_path)
    assert result.records[0].boxes.tolist() == [[5, 5, 20, 20]]
    assert [finding.outcome for finding in result.findings] == ["note"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_boxes_follow_their_pixels(tmp_path: Path, orientation: int) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[5:12, 10:30] = 255
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=tags)
    x1, y1, x2, y2 = rotate_boxes(np.asarray([[10, 5, 30, 12]], np.float32), (60, 40), orientation)[0].astype(
        int
    )
    upright = read_image(tmp_path / "a.png")
    assert upright[y1:y2, x1:x2].min() == 255
    assert (upright == 255).all(axis=2).sum() == (x2 - x1) * (y2 - y1) == 140


def test_identical_images_in_two_splits_are_reported(tmp_path: Path) -> None:
    for name in "abc":
        add(tmp_path, name, [CAR])
    shutil.copy(tmp_path / "JPEGImages" / "a.jpg", tmp_path / "JPEGImages" / "c.jpg")
    (finding,) = outcomes_of(checked(tmp_path), "note")
    assert "random split" in finding.what
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\nb\nb\nghost")
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("b\nc")
    notes = outcomes_of(checked(tmp_path), "note")
    assert "1 lines match no image" in notes[0].what
    assert "in both train and val" in notes[1].what
    assert notes[2].file == "JPEGImages/a.jpg"
    assert "JPEGImages/c.jpg: in train and val" in notes[2].what


@given(st.lists(st.tuples(*[st.floats(-100, 200, width=32)] * 4), max_size=8))
def test_clean_boxes_lie_inside_with_positive_area(values: list[tuple[float, float, float, float]]) -> None:
    from lookonce.labels.examine import Examined, _boxes
    from lookonce.labels.records import Record

    boxes = np.asarray(values, np.float32).reshape(-1, 4)
    record = Record(
        "a", Path("a"), Path("a.xml"), None, boxes, ("x",) * len(boxes), np.zeros(len(boxes), np.bool_)
    )
    result = Examined(Path(), record, size=(60, 40), boxes=boxes)
    _boxes(result)
    assert (result.boxes[:, :2] < result.boxes[:, 2:]).all()
    assert (result.boxes >= 0).all()
    assert (result.boxes <= (60, 40, 60, 40)).all()
    assert len(result.boxes) == len(result.labels) == len(result.difficult)
    assert len(result.boxes) + sum(finding.outcome == "dropped" for finding in result.findings) == len(boxes)


def test_long_class_lists_are_cut_in_messages(tmp_path: Path) -> None:
    add(tmp_path, "a", [("bolt", 1, 1, 9, 9), ("nut", 20, 20, 30, 30)])
    result = checked(tmp_path, class_names=[f"thing {number}" for number in range(80)])
    fatal_ones = outcomes_of(result, "fatal")
    assert {finding.object for finding in fatal_ones} == {"bolt", "nut"}
    for finding in fatal_ones:
        assert "thing 4, and 75 more" in finding.what
        assert "thing 5" not in finding.what


def test_long_lists_of_datasets_are_cut(tmp_path: Path) -> None:
    for number in range(30):
        add(tmp_path / f"set-{number:02d}", "a", [CAR])
    with pytest.raises(LabelError, match="30 datasets") as caught:
        Dataset.open(tmp_path)
    assert "set-04" in str(caught.value)
    assert "set-05" not in str(caught.value)
