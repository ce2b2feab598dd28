import time

import numpy as np
import pytest

from lookonce.boxes import iou_matrix
from lookonce.inference.nms import DIOUNMS, GREEDYNMS, nms


def crowd(count: int, classes: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    corner = rng.random((count, 2)) * 400
    boxes = np.concatenate([corner, corner + 10 + rng.random((count, 2)) * 60], axis=1).astype(np.float32)
    return boxes, rng.random(count).astype(np.float32), rng.integers(0, classes, count)


def by_the_loop(boxes, scores, classes, iou):
    """Darknet's do_nms_sort as its loops run."""
    overlaps, kept = iou_matrix(boxes, boxes), []
    for index in np.argsort(-scores, kind="stable"):
        if not any(classes[other] == classes[index] and overlaps[other, index] > iou for other in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize(("count", "classes"), [(0, 1), (1, 1), (300, 1), (900, 1), (900, 7)])
def test_agrees_with_the_plain_loop(count: int, classes: int):
    case = crowd(count, classes)
    assert nms(*case, 0.45).tolist() == by_the_loop(*case, 0.45)


def test_an_overlap_of_exactly_the_threshold_stays():
    # Intersection 50, union 100.
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], np.float32)
    scores, classes = np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64)
    assert nms(boxes, scores, classes, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, classes, 0.49).tolist() == [0]
    assert nms(boxes, scores, np.array([0, 1]), 0.49).tolist() == [0, 1]


def test_distance_of_the_centres_saves_a_box():
    # IoU 60 / 140 = .4286; centres 4 apart, d^2 = 16, around both 14 x 10: c^2 = 296; (16 / 296)^.6 = .1737.
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10]], np.float32)
    scores, classes = np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64)
    assert nms(boxes, scores, classes, 0.42).tolist() == [0]
    assert nms(boxes, scores, classes, 0.26, GREEDYNMS).tolist() == [0, 1]
    assert nms(boxes, scores, classes, 0.25, GREEDYNMS).tolist() == [0]
    # With beta 1: .4286 - .0541 = .3745.
    assert nms(boxes, scores, classes, 0.37, DIOUNMS, beta=1.0).tolist() == [0]
    assert nms(boxes, scores, classes, 0.38, DIOUNMS, beta=1.0).tolist() == [0, 1]


def test_ten_thousand_boxes_take_no_time_to_speak_of():
    case = crowd(10_000, 80)
    begin = time.perf_counter()
    nms(*case, 0.45)
    assert time.perf_counter() - begin < 2


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="soft"):
        nms(*crowd(2, 1), 0.45, "soft")
