"""Detections: validation, indexing, filtering, and round trips."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from lookonce.core.detections import Detections
from lookonce.errors import LookonceError

NAMES = ("car", "dog", "cat")


def three() -> Detections:
    return Detections(
        np.asarray([[0, 0, 10, 10], [20, 10, 40, 40], [5, 5, 6, 7]], np.float32),
        np.asarray([0.9, 0.5, 0.25], np.float32),
        np.asarray([0, 1, 0], np.int64),
        NAMES,
        (64, 48),
    )


def nothing() -> Detections:
    return three()[:0]


def assert_equal(first: Detections, second: Detections) -> None:
    np.testing.assert_allclose(first.boxes, second.boxes, atol=1e-3)
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-6)
    assert [first.names[label] for label in first.classes] == [
        second.names[label] for label in second.classes
    ]
    assert first.image_size == second.image_size


def test_plain_lists_become_arrays() -> None:
    found = Detections([[0, 0, 1, 2]], [0.5], [1], ["car", "dog"], (4, 3))  # type: ignore[arg-type]
    assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == (np.float32, np.float32, np.int64)
    assert found.names == ("car", "dog")
    assert len(Detections([], [], [], [], (4, 3))) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"boxes": np.zeros((2, 4))}, "boxes"),
        ({"boxes": np.zeros((3, 5))}, "boxes"),
        ({"scores": np.zeros((3, 1))}, "scores"),
        ({"classes": [0, 1]}, "classes"),
        ({"classes": [0.5, 1, 2]}, "classes"),
        ({"classes": [0, 1, 3]}, "3 names"),
        ({"classes": [0, 1, -1]}, "3 names"),
        ({"image_size": (64, 0)}, "image_size"),
        ({"image_size": (64,)}, "image_size"),
    ],
)
def test_wrong_shapes_and_types_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Detections(**{**vars(three()), **change})


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (1, [1]),
        (-1, [2]),
        (np.int64(0), [0]),
        (slice(1, None), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        ([2, 0], [2, 0]),
        (np.asarray([True, False, True]), [0, 2]),
        (np.asarray([], np.int64), []),
        ([], []),
    ],
)
def test_indexing_selects_rows(key: object, rows: list[int]) -> None:
    found = three()[key]  # type: ignore[index]
    np.testing.assert_array_equal(found.boxes, three().boxes[rows])
    np.testing.assert_array_equal(found.scores, three().scores[rows])
    np.testing.assert_array_equal(found.classes, three().classes[rows])
    assert (found.names, found.image_size) == (NAMES, (64, 48))


def test_index_out_of_range() -> None:
    with pytest.raises(IndexError):
        three()[3]


def test_iteration_yields_plain_values() -> None:
    first, *rest = three()
    assert first.name == "car"
    assert first.class_id == 0
    assert first.score == pytest.approx(0.9)
    assert isinstance(first.score, float)
    assert first.box.tolist() == [0, 0, 10, 10]
    assert [one.name for one in rest] == ["dog", "car"]
    assert list(nothing()) == []


def test_filter_by_class_score_and_area() -> None:
    found = three()
    assert found.filter().scores.tolist() == found.scores.tolist()
    assert len(found.filter(classes="car")) == 2
    assert len(found.filter(classes=["dog", 0])) == 3
    assert len(found.filter(classes=[])) == 0
    assert len(found.filter(min_score=0.5)) == 2
    assert len(found.filter(min_area=100)) == 2
    assert len(found.filter(classes="car", min_score=0.3, min_area=50)) == 1
    assert len(nothing().filter(classes="car", min_score=0.3, min_area=50)) == 0


@pytest.mark.parametrize("classes", ["bird", 3, [-1]])
def test_filter_refuses_unknown_classes(classes: object) -> None:
    with pytest.raises(LookonceError, match="car, dog, cat"):
        three().filter(classes=classes)  # type: ignore[arg-type]


@pytest.mark.parametrize("found", [three(), nothing()], ids=["three", "none"])
def test_dict_round_trip_through_json(found: Detections) -> None:
    document = json.loads(json.dumps(found.to_dict("a.jpg")))
    assert document["filename"] == "a.jpg"
    again = Detections.from_dict(document, NAMES)
    assert_equal(found, again)
    assert again.names == NAMES
    assert again.classes.tolist() == found.classes.tolist()


def test_from_dict_without_names_takes_the_labels() -> None:
    again = Detections.from_dict(three().to_dict())
    assert again.names == ("car", "dog")
    assert_equal(three(), again)


def test_from_dict_appends_labels_that_names_lacks() -> None:
    assert Detections.from_dict(three().to_dict(), ["dog"]).names == ("dog", "car")


@pytest.mark.parametrize(
    "document", [{}, {"width": 4, "height": 3}, {"width": 4, "height": 3, "boxes": [{}]}, [], None]
)
def test_from_dict_refuses_other_documents(document: object) -> None:
    with pytest.raises(LookonceError):
        Detections.from_dict(document)  # type: ignore[arg-type]


def test_best_keeps_the_first() -> None:
    assert three().best(2).scores.tolist() == three().scores[:2].tolist()
    assert len(three().best(9)) == 3


def test_to_supervision() -> None:
    pytest.importorskip("supervision")
    boxes = three().to_supervision()
    np.testing.assert_array_equal(boxes.xyxy, three().boxes)
    np.testing.assert_array_equal(boxes.class_id, three().classes)
    assert boxes.data["class_name"].tolist() == ["car", "dog", "car"]
    assert len(nothing().to_supervision()) == 0


def test_to_supervision_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(LookonceError, match="pip install"):
        three().to_supervision()
