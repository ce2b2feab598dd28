"""Pascal VOC files and class lists: parsing, and errors that name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lookonce.errors import LookonceError
from lookonce.labels import LabelError, read_classes
from lookonce.labels.class_lists import declared_classes
from lookonce.labels.formats.voc import decoded, read_annotation

OBJECT = (
    "<object><name>{}</name>"
    "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def write(folder: Path, body: str, before: str = "") -> Path:
    path = folder / "a.xml"
    path.write_text(f"{before}<annotation>{body}</annotation>", encoding="utf-8")
    return path


def test_a_real_vott_file_keeps_its_unrounded_floats(shared: Path) -> None:
    folder = shared / "data" / "nuts_vott" / "物体検知-PascalVOC-export" / "Annotations"
    annotation = read_annotation(folder / "xw4u1-3gsfj.mp4#t=35.2.xml")
    assert annotation.size == (1920, 1080)
    assert annotation.labels == ("nut", "nut", "washer")
    assert annotation.boxes.dtype == np.float32
    np.testing.assert_allclose(annotation.boxes[0], [538.03186, 304.2, 737.76945, 480.6], atol=1e-3)


def test_no_objects_is_an_empty_annotation(tmp_path: Path) -> None:
    annotation = read_annotation(write(tmp_path, "<filename>a.jpg</filename>"))
    assert annotation.boxes.shape == (0, 4)
    assert annotation.size is None
    assert annotation.difficult.dtype == bool


def test_difficult_is_read_and_parts_are_ignored(tmp_path: Path) -> None:
    body = (
        "<object><name>person</name><difficult>1</difficult>"
        "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
        "<bndbox><xmax>30</xmax><xmin>10</xmin><ymax>40</ymax><ymin>20</ymin></bndbox></object>"
    )
    annotation = read_annotation(write(tmp_path, body))
    assert annotation.labels == ("person",)
    assert annotation.boxes.tolist() == [[10, 20, 30, 40]]
    assert annotation.difficult.tolist() == [True]


def test_an_xml_bomb_is_refused(tmp_path: Path) -> None:
    entities = '<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">'
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    path = write(tmp_path, "<filename>&i;</filename>", f"<!DOCTYPE annotation [{entities}]>")
    with pytest.raises(LabelError, match=r"a\.xml: declares XML entities"):
        read_annotation(path)


def test_an_external_entity_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    doctype = f'<!DOCTYPE annotation [<!ENTITY x SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
    with pytest.raises(LabelError, match="external references") as caught:
        read_annotation(write(tmp_path, "<filename>&x;</filename>", doctype))
    assert "DOCTYPE" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<object>", "line 1"),
        ("<object><bndbox/></object>", "object 1: no <name>"),
        ("<object><name>car</name></object>", r"object 1 \(car\): no <bndbox>"),
        (OBJECT.format("car", 1, 2, "", 4), r"object 1 \(car\): <xmax> is ''"),
        (
            OBJECT.format("car", 1, 2, 3, 4) + OBJECT.format("dog", 1, "nan", 3, 4),
            r"object 2 \(dog\): <ymin> is 'nan'",
        ),
        (OBJECT.format("car", "inf", 2, 3, 4), "<xmin> is 'inf'"),
    ],
)
def test_errors_name_file_and_object(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(LookonceError, match=rf"a\.xml.*{message}"):
        read_annotation(write(tmp_path, body))


def test_another_xml_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<dataset/>")
    with pytest.raises(LabelError, match="the root is <dataset>"):
        read_annotation(tmp_path / "a.xml")


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "..\\secret.jpg", "%2E%2E%2Fsecret.jpg", "a/../../secret.jpg"]
)
def test_filename_outside_the_dataset_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LabelError, match="outside"):
        read_annotation(write(tmp_path, f"<filename>{name}</filename>"))


def test_names_are_decoded_as_often_as_vott_encodes() -> None:
    assert decoded("data%2Fcar%201.jpg") == "data/car 1.jpg"
    assert decoded("data%252Fcar.jpg") == "data/car.jpg"


def test_classes_with_bom_crlf_and_a_last_blank_line(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes("\ufeffcar\r\n信号 灯\r\n\r\n".encode())
    assert read_classes(tmp_path / "classes.txt") == ("car", "信号 灯")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("car\n\ndog\n", "line 2: blank"),
        ("\ncar\n", "line 1: blank"),
        ("car\ndog\ncar\n", r"'car'.*numbers 1 and 3"),
        ("", "empty"),
    ],
)
def test_invalid_class_lists_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "custom_classes.txt").write_text(text)
    with pytest.raises(LabelError, match=rf"custom_classes\.txt.*{message}"):
        read_classes(tmp_path / "custom_classes.txt")


def test_a_missing_or_binary_class_list_is_a_label_error(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="cannot be read"):
        read_classes(tmp_path / "nowhere.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\x00\x81")
    with pytest.raises(LabelError, match="UTF-8"):
        read_classes(tmp_path / "b.txt")


def test_label_map_is_ordered_by_id_and_keeps_quotes(tmp_path: Path) -> None:
    text = "item {\n id: 2\n name: 'dog's bowl'\n}\nitem {\r\n  id: 1\r\n  name: \"car\"\r\n}\n"
    (tmp_path / "pascal_label_map.pbtxt").write_text(text)
    assert declared_classes([tmp_path]) == ("car", "dog's bowl")


def test_cvat_background_is_not_a_class(tmp_path: Path) -> None:
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:1,2,3::\n"
    )
    assert declared_classes([tmp_path]) == ("cat",)
