import json
import math

import numpy as np
import pytest

from lookonce.core.detections import Detections
from lookonce.evaluation import GroundTruth, confusion_matrix, evaluate, rank_images, voc_ap

SIZE = (400, 400)


def truth(rows, difficult=()) -> GroundTruth:
    rows = np.array(rows, np.float32).reshape(-1, 5)
    hard = np.isin(np.arange(len(rows)), difficult)
    return GroundTruth(rows[:, :4], rows[:, 4].astype(np.int64), hard, SIZE)


def found(rows) -> Detections:
    rows = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(rows[:, :4], rows[:, 5], rows[:, 4].astype(np.int64), ("a", "b"), SIZE)


def box(place: int, label: int, *score: float, shift: float = 0) -> list[float]:
    left = 100.0 * place + shift
    return [left, 10, left + 50, 60, label, *score]


def test_small_case_by_hand():
    # Class a: 2 objects. Detections by score: hit .9, wrong .8 (empty place), hit .7.
    # Precision 1, 1/2, 2/3 at recall .5, .5, 1; envelope 1, 2/3, 2/3.
    # Area: .5 * 1 + .5 * 2/3 = .8333. 11 points: 6 at recall <= .5 of 1, 5 of 2/3: (6 + 10/3) / 11 = .8485.
    # 101 points: 51 of 1, 50 of 2/3: (51 + 100/3) / 101 = .83498.
    labels = [truth([box(0, 0), box(1, 0)]), truth([])]
    metrics = evaluate(
        labels, [found([box(0, 0, 0.9), box(1, 0, 0.7)]), found([box(0, 0, 0.8)])], ["a", "b"], 0.75
    )
    one = metrics.classes[0]
    assert one.voc_area == pytest.approx(5 / 6)
    assert one.voc_11 == pytest.approx((6 + 10 / 3) / 11)
    assert one.voc_101 == pytest.approx((51 + 100 / 3) / 101)
    assert [one.ap, one.ap50, one.ap75] == pytest.approx([one.voc_101] * 3, abs=1e-9)
    # Above .75: one right, one wrong, one missed.
    assert (one.true_positives, one.false_positives) == (1, 1)
    assert one.precision == one.recall == one.f1 == 0.5
    # All three together: precision 2/3, recall 1, F1 .8, down to a score between 0 and .7.
    assert metrics.best_f1 == pytest.approx(0.8)
    assert metrics.best_confidence == pytest.approx(0.35)
    # Class b has no objects: no AP, and not in the means.
    assert math.isnan(metrics.classes[1].ap)
    assert metrics.ap50 == one.ap50
    assert json.loads(json.dumps(metrics.to_json(), allow_nan=False))["classes"][1]["ap"] is None


def test_coco_ap_averages_over_ious():
    # Shifted by 10 of 50: IoU 40 / 60 = .667 passes .5, .55, .6, .65 of the ten thresholds.
    metrics = evaluate([truth([box(0, 0)])], [found([box(0, 0, 0.9, shift=10)])], ["a"])
    assert (metrics.ap50, metrics.ap75) == (pytest.approx(1), 0)
    assert metrics.ap == pytest.approx(0.4)


def test_second_detection_of_an_object_is_a_false_positive():
    metrics = evaluate([truth([box(0, 0)])], [found([box(0, 0, 0.9), box(0, 0, 0.8, shift=2)])], ["a"])
    assert (metrics.classes[0].true_positives, metrics.classes[0].false_positives) == (1, 1)


def test_difficult_objects_are_ignored():
    labels = [truth([box(0, 0), box(1, 0), box(2, 0)], difficult=[1, 2])]
    once = found([box(0, 0, 0.5), box(1, 0, 0.9), box(1, 0, 0.8, shift=3)])
    metrics = evaluate(labels, [once], ["a"])
    assert metrics.objects == 1
    assert [metrics.ap50, metrics.ap75, metrics.voc_area] == pytest.approx([1, 1, 1])
    assert (metrics.precision, metrics.recall) == (1, 1)


def test_ap50_matches_pycocotools_at_101_points():
    # Objects that don't overlap each other: there Darknet's and COCO's matching are one.
    rng = np.random.default_rng(0)
    labels, predictions = [], []
    for _ in range(40):
        places = rng.permutation(4)[: rng.integers(0, 5)]
        rows = [box(place, rng.integers(0, 2)) for place in places]
        labels.append(truth(rows, difficult=[0] if rng.random() < 0.2 else []))
        shots = [
            [
                *(np.array(row[:4]) + rng.random() * 25),
                row[4] if rng.random() < 0.8 else 1 - row[4],
                rng.random(),
            ]
            for row in rows * 2
        ]
        predictions.append(found(shots))
    metrics = evaluate(labels, predictions, ["a", "b"])
    assert 0.05 < metrics.ap50 < 0.95
    for one in metrics.classes:
        assert one.ap50 == pytest.approx(one.voc_101, abs=1e-9)


def test_no_detections_give_zero_and_no_objects_give_nan():
    nothing_found = evaluate([truth([box(0, 0)])], [found([])], ["a"])
    assert nothing_found.ap == nothing_found.voc_11 == nothing_found.recall == 0
    assert math.isnan(nothing_found.precision)
    no_labels = evaluate([truth([])], [found([box(0, 0, 0.9)])], ["a"])
    assert math.isnan(no_labels.ap)
    assert no_labels.precision == 0
    assert math.isnan(evaluate([], [], ["a"]).ap50)
    assert math.isnan(evaluate([truth([])], [found([])], ["a"]).f1)


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="1 images"):
        evaluate([truth([])], [], ["a"])


def test_average_precision_of_all_wrong_is_zero():
    assert voc_ap(np.zeros(5, bool), 3) == 0
    assert math.isnan(voc_ap(np.zeros(5, bool), 0))


def test_confusion_by_hand():
    labels = [truth([box(0, 0), box(1, 0), box(2, 1), box(3, 1)], difficult=[3])]
    predictions = [found([box(0, 0, 0.9), box(1, 1, 0.8), box(3, 0, 0.9), box(2, 1, 0.2), box(0, 1, 0.7)])]
    # a found as a, a taken for b, b not found (0.2 is too low); b at place 0 is one too many; 3 counts not.
    assert confusion_matrix(labels, predictions, 2).tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]


def test_images_are_ranked_worst_first():
    labels = [truth([box(0, 0)]), truth([box(0, 0)]), truth([]), truth([box(0, 0), box(1, 0)])]
    predictions = [found([box(0, 0, 0.9)]), found([]), found([]), found([box(0, 0, 0.9)])]
    ranked = rank_images(labels, predictions)
    assert [index for _, index in ranked] == [1, 3, 0, 2]
    assert ranked[1][0] == pytest.approx(2 / 3)
