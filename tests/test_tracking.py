"""Ids that stay with objects."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lookonce.detections import Detections
from lookonce.inference import draw
from lookonce.video import LOWEST_SCORE, Tracker

NAMES = ("car", "truck", "person")
RATE = Fraction(10)


@pytest.fixture(autouse=True)
def supervision(need):
    return need("supervision")


def found(*objects: tuple[float, float, float, int]) -> Detections:
    """Boxes of 60 x 40 pixels at (left, top) with a score and a class, best score first."""
    ranked = sorted(objects, key=lambda one: -one[2])
    boxes = np.array([[left, top, left + 60, top + 40] for left, top, _, _ in ranked], np.float32)
    return Detections(
        boxes.reshape(-1, 4),
        np.array([one[2] for one in ranked], np.float32),
        np.array([one[3] for one in ranked], np.int64),
        NAMES,
        (640, 480),
    )


def test_two_objects_that_pass_each_other_keep_their_ids():
    tracker = Tracker(0.3, RATE)
    left_ids, right_ids = set(), set()
    for step in range(40):
        # The scores swap places, and with them the order in which the boxes come.
        scores = (0.9, 0.8) if step % 2 else (0.8, 0.9)
        shown, ids = tracker.update(
            found((10 * step, 100, scores[0], 0), (400 - 10 * step, 200, scores[1], 2))
        )
        assert len(shown) == len(ids) == 2
        if step > 1:
            tops = shown.boxes[:, 1].tolist()
            left_ids.add(int(ids[tops.index(100)]))
            right_ids.add(int(ids[tops.index(200)]))
    assert len(left_ids) == len(right_ids) == 1
    assert left_ids != right_ids
    assert tracker.objects() == {"car": 1, "person": 1}


def test_an_object_that_is_hidden_for_a_moment_keeps_its_id():
    tracker = Tracker(0.3, RATE)
    ids: set[int] = set()
    for step in range(30):
        hidden = 12 <= step < 17
        _, given = tracker.update(found() if hidden else found((10 * step, 100, 0.9, 0)))
        ids |= set(given.tolist()) - {-1}
    assert len(ids) == 1


def test_an_unsure_box_is_shown_only_when_it_continues_an_object():
    tracker = Tracker(0.3, RATE)
    for step in range(6):
        tracker.update(found((5 * step, 100, 0.9, 0)))
    shown, ids = tracker.update(found((30, 100, 0.2, 0), (500, 400, 0.2, 2)))
    assert shown.classes.tolist() == [0]
    assert ids.tolist() == [1]
    assert LOWEST_SCORE < 0.2


def test_a_flickering_class_is_one_object_of_its_usual_class():
    tracker = Tracker(0.3, RATE)
    for step in range(20):
        tracker.update(found((5 * step, 100, 0.9, 1 if step % 4 == 3 else 0)))
    assert tracker.objects() == {"car": 1}


def test_a_single_glimpse_is_no_object():
    tracker = Tracker(0.3, RATE)
    tracker.update(found())
    for step in range(5):
        shown, ids = tracker.update(found((100, 100, 0.9, 0)) if step == 2 else found())
        if step == 2:
            assert len(shown) == 1
            assert ids.tolist() == [-1]
    assert not tracker.objects()


def test_ids_are_drawn():
    image = np.full((480, 640, 3), 90, np.uint8)
    one = found((100, 100, 0.9, 0))
    plain = draw(image, one)
    assert (draw(image, one, np.array([-1])) == plain).all()
    assert (draw(image, one, np.array([7])) != plain).any()
    assert (draw(image, one, np.array([7])) != draw(image, one, np.array([8]))).any()
