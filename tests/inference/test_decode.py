import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from lookonce.core.boxes import LETTERBOX, STRETCH, Geometry, iou_matrix
from lookonce.darknet import LARGEST_LOG_SIZE, Head, read_cfg
from lookonce.inference.decode import decode
from lookonce.inference.nms import nms


def head(**more) -> Head:
    anchors = np.array([[10, 20], [30, 40]], np.float32)
    return Head(layer=0, classes=2, mask=(1,), all_anchors=anchors, **more)


def logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def test_one_cell_by_hand():
    raw = np.full((2, 4, 7), -20, np.float32)
    # Row 1, column 3 of a 4 x 2 grid on 128 x 64: x (3 + .5) / 4 * 128 = 112, y (1 + .25) / 2 * 64 = 40;
    # the mask names anchor 1: width 30 * e^0 = 30, height 40 * e^ln(.5) = 20.
    raw[1, 3] = [0, logit(0.25), 0, np.log(0.5), logit(0.8), logit(0.5), logit(0.9)]
    boxes, scores, classes = decode([raw], [head()], (64, 128), 0.3)
    np.testing.assert_allclose(boxes, [[97, 30, 127, 50]] * 2, rtol=1e-5)
    # Two labels stand: .8 * .5 and .8 * .9.
    np.testing.assert_allclose(scores, [0.4, 0.72], rtol=1e-5)
    assert classes.tolist() == [0, 1]
    # At .5 the first label falls, at .75 the box by its probabilities, at .8 by its objectness.
    assert decode([raw], [head()], (64, 128), 0.5)[2].tolist() == [1]
    assert len(decode([raw], [head()], (64, 128), 0.75)[1]) == 0


def test_scale_x_y_widens_the_reach_of_a_cell():
    raw = np.full((1, 1, 7), 20, np.float32)
    raw[0, 0, :4] = [logit(0.75), 0, 0, 0]
    # x = 2 * .75 - .5 = 1.0 cells of 64 pixels, y = .5.
    boxes, _, _ = decode([raw], [head(scale_x_y=2.0)], (64, 64), 0.5)
    np.testing.assert_allclose(boxes[0], [64 - 15, 32 - 20, 64 + 15, 32 + 20], rtol=1e-5)


def test_new_coords_are_already_logistic():
    raw = np.array([0.5, 0.5, 1.0, 0.5, 0.9, 0.1, 0.8], np.float32).reshape(1, 1, 7)
    # width (2 * 1)^2 * 30 = 120, height (2 * .5)^2 * 40 = 40, score .9 * .8.
    boxes, scores, classes = decode([raw], [head(new_coords=True, scale_x_y=2.0)], (64, 64), 0.5)
    np.testing.assert_allclose(boxes, [[32 - 60, 12, 32 + 60, 52]], rtol=1e-5)
    assert scores == pytest.approx([0.72])
    assert classes.tolist() == [1]


def test_a_network_gone_wrong_gives_no_boxes():
    assert len(decode([np.full((2, 2, 7), np.nan, np.float32)], [head()], (64, 64), 0.1)[0]) == 0
    assert len(decode([np.full((2, 2, 7), 500, np.float32)], [head()], (64, 64), 0.1)[0]) == 0


def test_sizes_up_to_the_clamp_stay_finite():
    raw = np.full((1, 1, 7), 20, np.float32)
    raw[0, 0, 2:4] = LARGEST_LOG_SIZE
    with np.errstate(over="raise"):
        boxes, _, _ = decode([raw], [head()], (64, 64), 0.5)
    assert np.isfinite(boxes).all()
    assert boxes[0, 2] - boxes[0, 0] == pytest.approx(30 * np.exp(LARGEST_LOG_SIZE), rel=1e-5)


def test_wrong_channels_are_refused():
    with pytest.raises(ValueError, match="8 channels"):
        decode([np.zeros((2, 2, 8), np.float32)], [head()], (64, 64), 0.1)


def test_only_cells_above_the_threshold_are_touched():
    # As an engine gives it: channels first in memory, seen channels last; 80 classes, 5.5 MB.
    specs = [Head(layer=0, classes=80, mask=(0, 1, 2), all_anchors=np.full((3, 2), 30, np.float32))]
    stored = np.full((255, 74, 74), -20, np.float32)
    stored[[4, 20], 10, 11] = 20
    tracemalloc.start()
    boxes, _, classes = decode([stored.transpose(1, 2, 0)], specs, (416, 416), 0.3)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(boxes) == 1
    assert classes.tolist() == [15]
    assert peak_bytes < stored.nbytes / 10


@pytest.mark.parametrize(
    ("case", "key", "resize"),
    [
        ("stretch_alexeyab_dog", "stretch AlexeyAB", STRETCH),
        ("stretch_alexeyab_person", "stretch AlexeyAB", STRETCH),
        ("letterbox_alexeyab_dog", "letterbox AlexeyAB", LETTERBOX),
        ("letterbox_pjreddie_dog", "letterbox pjreddie", LETTERBOX),
    ],
)
def test_darknets_heads_give_darknets_detections(shared: Path, case: str, key: str, resize: str):
    name = "yolo-fastest-1.1-xl"
    specs = read_cfg(shared / "weights" / "yolo-fastest" / f"{name}.cfg").heads
    arrays = np.load(shared / "reference" / f"{name}_{case}.npz")
    heads = [arrays[f"layer{layer}_rawconv_chw"].transpose(1, 2, 0) for layer in (120, 129)]
    reference = json.loads((shared / "reference" / "detections_thresh0.25_nms0.45.json").read_text())
    image = f"{case.rpartition('_')[2]}.jpg"
    expected = next(one for one in reference[f"{name} {key}"] if one["image"] == image)
    width, height = expected["w"], expected["h"]
    boxes, scores, classes = decode(heads, specs, (320, 320), 0.25)
    boxes = Geometry.fit(width, height, (320, 320), resize).to_image(boxes)
    kept = nms(boxes, scores, classes, 0.45)
    assert sorted(classes[kept]) == sorted(det["cls"] for det in expected["dets"])
    for det in expected["dets"]:
        centre = np.array([det["cx"] * width, det["cy"] * height])
        half = np.array([det["bw"] * width, det["bh"] * height]) / 2
        overlaps = iou_matrix(np.concatenate([centre - half, centre + half])[None], boxes[kept])[0]
        overlaps[classes[kept] != det["cls"]] = 0
        assert overlaps.max() > 0.9999
        assert scores[kept][overlaps.argmax()] == pytest.approx(det["prob"], abs=1e-5)
