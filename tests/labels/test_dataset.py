"""Datasets: layouts, names, splits, and lazy reading."""

from __future__ import annotations

import builtins
from pathlib import Path
from unittest import mock

import pytest

from lookonce.labels import Dataset, LabelError


def make(
    root: Path, labels: list[str], images: list[str], folder: str = "JPEGImages", inside: str = ""
) -> Path:
    (root / "Annotations").mkdir(parents=True)
    (root / folder).mkdir()
    for name in labels:
        (root / "Annotations" / name).write_text(f"<annotation>{inside}</annotation>")
    for name in images:
        (root / folder / name).touch()
    return root


def lists(root: Path, **files: str) -> None:
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for name, text in files.items():
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(text)


def names(dataset: Dataset, split: str) -> list[str]:
    return [dataset.items[index].image.name for index in dataset.splits[split]]


def test_bccd_has_its_official_lists(shared: Path) -> None:
    dataset = Dataset.open(shared / "data" / "bccd")
    assert (dataset.format, dataset.name, len(dataset)) == ("voc", "bccd", 364)
    assert dataset.class_names == ("RBC", "WBC", "Platelets")
    assert dataset.discover_classes() == ("Platelets", "RBC", "WBC")
    assert {name: len(found) for name, found in dataset.splits.items()} == {
        "train": 205,
        "val": 87,
        "trainval": 292,
        "test": 72,
    }
    assert set(dataset.split("train")) | set(dataset.split("val")) == set(dataset.split("trainval"))
    assert dataset.unknown_names == []
    assert sum(len(record.boxes) for record in dataset) == 4888


def test_vott_export_is_found_in_its_only_subfolder(shared: Path) -> None:
    dataset = Dataset.open(shared / "data" / "nuts_vott")
    assert (dataset.format, dataset.name, len(dataset)) == ("vott-voc", "物体検知", 121)
    assert dataset.class_names == ("nut", "washer", "springwasher")
    assert all(record.image.is_file() for record in dataset)
    assert {name: len(found) for name, found in dataset.splits.items()} == {"train": 96, "val": 25}
    assert not set(dataset.split("train")) & set(dataset.split("val"))


def test_label_studio_export_without_lists_is_split_randomly(shared: Path) -> None:
    dataset = Dataset.open(shared / "labels" / "label-studio-export" / "VOC")
    assert dataset.splits == {}
    assert [record.labels for record in dataset] == [("car",), ("car",)]
    assert sorted(dataset.split("train") + dataset.split("val")) == [0, 1]


def test_label_files_beside_the_images_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotation/>")
    (tmp_path / "a.png").touch()
    assert Dataset.open(tmp_path)[0].image == tmp_path / "a.png"


def test_ten_thousand_names_are_indexed_without_opening_any(tmp_path: Path) -> None:
    stems = [f"frame {number}" for number in range(10_000)]
    root = make(
        tmp_path / "many", [f"{stem}.xml" for stem in stems], [f"{stem}.jpg" for stem in stems[:9000]]
    )
    with (
        mock.patch.object(builtins, "open", side_effect=AssertionError("opened")),
        mock.patch.object(Path, "read_bytes", side_effect=AssertionError("read")),
    ):
        dataset = Dataset.open(root)
        assert len(dataset) == 10_000
        assert (len(dataset.split("train", 3)), len(dataset.split("val", 3))) == (8000, 2000)


@pytest.mark.parametrize(
    ("label", "image"),
    [
        ("data%2Fcar 1.xml", "car 1.jpg"),
        ("car 1.xml", "data%2Fcar%201.png"),
        ("data%2Fcar%201.xml", "data%2Fcar%201.jpeg"),
        ("x.mp4#t=0.2.xml", "x.mp4#t=0.2.jpg"),
        ("100%.xml", "100%.jpg"),
        ("UPPER.xml", "UPPER.JPG"),
    ],
)
def test_labels_match_images_despite_encoding_and_suffixes(tmp_path: Path, label: str, image: str) -> None:
    dataset = Dataset.open(make(tmp_path / "set", [label], [image]))
    assert [(item.image.name, item.annotation and item.annotation.name) for item in dataset.items] == [
        (image, label)
    ]


def test_filename_in_the_label_file_is_the_last_resort(tmp_path: Path) -> None:
    root = make(
        tmp_path / "set", ["0001.xml"], ["car.jpg", "other.jpg"], inside="<filename>car.jpg</filename>"
    )
    dataset = Dataset.open(root)
    assert [(item.image.name, item.annotation is None) for item in dataset.items] == [
        ("car.jpg", False),
        ("other.jpg", True),
    ]


def test_absolute_paths_in_labels_are_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").touch()
    inside = f"<filename>{tmp_path / 'secret.jpg'}</filename><path>{tmp_path / 'secret.jpg'}</path>"
    dataset = Dataset.open(make(tmp_path / "set", ["a.xml"], ["b.jpg"], inside=inside))
    assert all(item.image.parent == tmp_path / "set" / "JPEGImages" for item in dataset.items)


def test_vott_lists_of_all_classes_are_merged(tmp_path: Path) -> None:
    images = ["a 1.jpg", "b.jpg", "c.jpg", "d.jpg"]
    root = make(tmp_path / "p-PascalVOC-export", [f"{Path(name).stem}.xml" for name in images], images)
    lists(
        root,
        car_train="c.jpg 1\nd.jpg -1",
        dog_train="c.jpg -1\r\nd.jpg 1\r\nb.jpg 1",
        car_val="a 1.jpg 1",
        dog_val="a 1.jpg -1\nb.jpg 1\nghost.jpg 1",
    )
    dataset = Dataset.open(root)
    assert (dataset.format, dataset.name) == ("vott-voc", "p")
    assert names(dataset, "val") == ["a 1.jpg", "b.jpg"]
    assert names(dataset, "train") == ["c.jpg", "d.jpg"]
    assert [entry for _, entry in dataset.unknown_names] == ["ghost.jpg 1"]


def test_plain_lists_override_class_lists_and_accept_stems_ending_in_a_flag(tmp_path: Path) -> None:
    root = make(tmp_path / "set", ["car 1.xml", "car.xml", "dog.xml"], ["car 1.jpg", "car.jpg", "dog.jpg"])
    lists(root, train="car 1\n", val="car.jpg\n\nJPEGImages/dog.jpg", car_train="dog  1")
    dataset = Dataset.open(root)
    assert names(dataset, "train") == ["car 1.jpg"]
    assert names(dataset, "val") == ["car.jpg", "dog.jpg"]


@pytest.mark.parametrize(
    "listed", [(), ("trainval", "test"), ("train", "test"), ("test",), ("val",), ("trainval", "train")]
)
def test_train_val_and_test_are_disjoint(tmp_path: Path, listed: tuple[str, ...]) -> None:
    images = [f"{letter}.jpg" for letter in "abcdefghijklmnopqrst"]
    root = make(tmp_path / "set", [f"{name[0]}.xml" for name in images], images)
    parts = {
        "test": "q\nr\ns\nt",
        "val": "a\nb",
        "train": "\n".join("cdefghij"),
        "trainval": "\n".join("abcdefghij"),
    }
    lists(root, **{name: parts[name] for name in listed})
    dataset = Dataset.open(root)
    train, val = set(dataset.split("train", 1)), set(dataset.split("val", 1))
    assert train
    assert val
    assert not train & val
    assert not (train | val) & set(dataset.splits.get("test", ()))
    assert train | val <= set(dataset.split("trainval", 1))
    assert dataset.split("val", 1) == dataset.split("val", 1)


def test_missing_split_lists_existing_ones(tmp_path: Path) -> None:
    root = make(tmp_path / "set", ["a.xml", "b.xml"], ["a.jpg", "b.jpg"])
    lists(root, train="a", val="b")
    with pytest.raises(LabelError, match=r"'test'.*train, val, trainval"):
        Dataset.open(root).split("test", 0)


def test_empty_folder_names_known_layouts_and_its_content(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"Annotations/\*\.xml.*an empty folder"):
        Dataset.open(tmp_path)
    (tmp_path / "labels.csv").touch()
    with pytest.raises(LabelError, match=r"labels\.csv"):
        Dataset.open(tmp_path)
    with pytest.raises(LabelError, match="does not exist"):
        Dataset.open(tmp_path / "nowhere")
    with pytest.raises(LabelError, match="is a file"):
        Dataset.open(tmp_path / "labels.csv")


def test_several_datasets_are_listed(tmp_path: Path) -> None:
    make(tmp_path / "first", ["a.xml"], [])
    make(tmp_path / "second", ["a.xml"], [])
    with pytest.raises(LabelError, match=r"2 datasets.*first.*second"):
        Dataset.open(tmp_path)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="coco"):
        Dataset.open(tmp_path, format="coco")


def test_invalid_class_list_fails_on_open(tmp_path: Path) -> None:
    root = make(tmp_path / "set", ["a.xml"], ["a.jpg"])
    (root / "custom_classes.txt").write_text("car\n\ndog\n")
    with pytest.raises(LabelError, match=r"custom_classes\.txt, line 2"):
        Dataset.open(root)
