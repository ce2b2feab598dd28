import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookonce.core.boxes import iou_matrix
from lookonce.darknet.cfg import DEFAULT_NMS, DIOU_NMS, GREEDY_NMS, NMS_KINDS
from lookonce.inference.nms import nms


def crowd(count: int, classes: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    corner = rng.random((count, 2)) * 400
    boxes = np.concatenate([corner, corner + 10 + rng.random((count, 2)) * 60], axis=1).astype(np.float32)
    return boxes, rng.random(count).astype(np.float32), rng.integers(0, classes, count)


def around_objects(count: int, classes: int, objects: int, seed: int = 0):
    """Candidates as a network gives them: many around each object, of its class."""
    rng = np.random.default_rng(seed)
    places, sizes = rng.random((objects, 2)) * 600, np.exp(rng.normal(3.8, 0.5, (objects, 2)))
    labels, which = rng.integers(0, classes, objects), rng.integers(0, objects, count)
    centres = places[which] + rng.normal(0, 0.08, (count, 2)) * sizes[which]
    halves = sizes[which] * np.exp(rng.normal(0, 0.12, (count, 2))) / 2
    boxes = np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)
    return boxes, rng.random(count).astype(np.float32), labels[which]


def by_the_loop(boxes, scores, classes, iou):
    """Darknet's do_nms_sort as its loops run."""
    overlaps, kept = iou_matrix(boxes, boxes) > iou, []
    overlaps &= classes[:, None] == classes[None]
    for index in np.argsort(-scores, kind="stable").tolist():
        if not overlaps[kept, index].any():
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
    assert nms(boxes, scores, classes, 0.26, GREEDY_NMS).tolist() == [0, 1]
    assert nms(boxes, scores, classes, 0.25, GREEDY_NMS).tolist() == [0]
    # With beta 1: .4286 - .0541 = .3745.
    assert nms(boxes, scores, classes, 0.37, DIOU_NMS, beta=1.0).tolist() == [0]
    assert nms(boxes, scores, classes, 0.38, DIOU_NMS, beta=1.0).tolist() == [0, 1]


def overlap_of_two(one, other, kind, beta):
    """IoU in float32, and what the two other kinds subtract, for one pair at a time."""
    zero, tiny = np.float32(0), np.finfo(np.float32).tiny
    wide = max(min(one[2], other[2]) - max(one[0], other[0]), zero)
    high = max(min(one[3], other[3]) - max(one[1], other[1]), zero)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    iou = wide * high / max(areas[0] + areas[1] - wide * high, tiny)
    if kind == DEFAULT_NMS:
        return iou
    around = (max(one[2], other[2]) - min(one[0], other[0])) ** 2 + (
        max(one[3], other[3]) - min(one[1], other[1])
    ) ** 2
    apart = ((one[0] + one[2] - other[0] - other[2]) / 2) ** 2 + (
        (one[1] + one[3] - other[1] - other[3]) / 2
    ) ** 2
    return iou - (apart / max(around, tiny)) ** np.float32(0.6 if kind == GREEDY_NMS else beta)


@st.composite
def cases(draw):
    """Boxes on a coarse grid: many equal ones, equal scores, no area, and overlaps of just the threshold."""
    cells = st.integers(0, 8)
    box = st.tuples(cells, cells, st.integers(0, 4), st.integers(0, 4))
    rows = draw(st.lists(st.tuples(box, st.integers(0, 5), st.integers(0, 2)), max_size=30))
    unit = draw(st.sampled_from([1, 1 / 3, 1 / 416, 1000]))
    corners = np.array([row[0] for row in rows], np.float64).reshape(-1, 4)
    boxes = (np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1) * unit).astype(
        np.float32
    )
    scores = np.array([row[1] / 5 for row in rows], np.float32)
    return boxes, scores, np.array([row[2] for row in rows], np.int64)


@settings(max_examples=200, deadline=None)
@given(cases(), st.sampled_from([0, 0.25, 1 / 3, 0.45, 0.5, 0.6, 1]), st.sampled_from(NMS_KINDS))
def test_equals_brute_force_pair_by_pair(case, iou, kind):
    # The rule of Darknet and of torchvision: a box goes if a better one that stays overlaps it by more.
    boxes, scores, classes = case
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        better = [other for other in kept if classes[other] == classes[index]]
        if not any(overlap_of_two(boxes[other], boxes[index], kind, 0.6) > iou for other in better):
            kept.append(index)
    assert nms(boxes, scores, classes, iou, kind).tolist() == kept


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 1200),
    places=st.integers(1, 300),
    classes=st.sampled_from([1, 3, 80]),
    iou=st.floats(0, 1, width=32),
    unit=st.sampled_from([1, 1 / 640, 1e-6]),
)
def test_equals_the_plain_loop_on_crowded_images(seed, count, places, classes, iou, unit):
    case = around_objects(count, classes, places, seed)
    case = (case[0] * np.float32(unit), *case[1:])
    assert nms(*case, iou).tolist() == by_the_loop(*case, iou)


def test_boxes_that_are_no_boxes_strike_out_nothing():
    boxes, scores, classes = crowd(600, 1)
    boxes[::7, 0], boxes[1::7, 2], boxes[2::7, 3] = np.nan, np.inf, -np.inf
    boxes[3::7] = boxes[3::7, [2, 3, 0, 1]]
    with np.errstate(invalid="ignore"):
        expected = by_the_loop(boxes, scores, classes, 0.3)
    assert nms(boxes, scores, classes, 0.3).tolist() == expected


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="soft"):
        nms(*crowd(2, 1), 0.45, "soft")
