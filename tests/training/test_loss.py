"""The vectorised loss against Darknet's loop, written out plainly in numpy."""

from dataclasses import replace

import numpy as np
import pytest
from keras import ops

from lookonce.darknet import Head
from lookonce.errors import LookonceError
from lookonce.training.loss.overlap import paired_overlap
from lookonce.training.loss.yolo import YoloLoss

ANCHORS = np.array([[10, 14], [23, 27], [37, 58], [81, 82], [60, 30], [90, 70]], np.float32)
SIZE = (96, 128)
HEADS = (
    Head(layer=16, classes=3, mask=(3, 4, 5), all_anchors=ANCHORS, ignore_thresh=0.5),
    Head(layer=23, classes=3, mask=(0, 1, 2), all_anchors=ANCHORS, ignore_thresh=0.5),
)
GRIDS = ((3, 4), (6, 8))


def raw_heads(seed, batch=2):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (batch, *grid, 24)).astype("float32") for grid in GRIDS]


def truths(seed, batch=2, count=12, most=16):
    rng = np.random.default_rng(seed)
    boxes = np.zeros((batch, most, 5), "float32")
    boxes[:, :count, :2] = rng.uniform(0.02, 0.98, (batch, count, 2))
    boxes[:, :count, 2:4] = rng.uniform(0.03, 0.7, (batch, count, 2))
    boxes[:, :count, 4] = rng.integers(0, 3, (batch, count))
    boxes[:, count - 1] = boxes[:, 0]  # one prediction, two truths: the later class must win
    boxes[:, count - 1, 4] = (boxes[:, 0, 4] + 1) % 3
    return boxes


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def bce(logit, target):
    return -(target * np.log(sigmoid(logit)) + (1 - target) * np.log(1 - sigmoid(logit)))


def plain_iou(first, second):
    low = np.maximum(first[:2] - first[2:] / 2, second[:2] - second[2:] / 2)
    high = np.minimum(first[:2] + first[2:] / 2, second[:2] + second[2:] / 2)
    inner = np.prod(np.clip(high - low, 0, None))
    return inner / (np.prod(first[2:]) + np.prod(second[2:]) - inner)


def responsible(head, labels, anchors):
    """Pairs of truth and anchor of this head: those that fit well enough, then each truth's best."""
    fits, best = [], []
    for truth in labels:
        if truth[2] == 0:
            continue
        centred = [plain_iou(np.array([0, 0, *truth[2:4]]), np.array([0, 0, *anchor])) for anchor in anchors]
        for anchor in head.mask:
            if anchor == np.argmax(centred):
                best.append((truth, anchor))
            elif centred[anchor] > head.iou_thresh:
                fits.append((truth, anchor))
    return fits + best


def plain_loss(head, output, labels):
    """forward_yolo_layer: every cell against every truth, then every truth against every anchor."""
    anchors = ANCHORS / np.array([SIZE[1], SIZE[0]])
    rows, columns = output.shape[:2]
    output = output.reshape(rows, columns, 3, 8)
    object_loss, others = np.zeros((rows, columns, 3)), {}
    for row, column, slot in np.ndindex(rows, columns, 3):
        tx, ty, tw, th, objectness = output[row, column, slot, :5]
        size = np.exp([tw, th]) * anchors[head.mask[slot]]
        box = np.array([(column + sigmoid(tx)) / columns, (row + sigmoid(ty)) / rows, *size])
        best = max((plain_iou(box, truth[:4]) for truth in labels if truth[2] > 0), default=0)
        object_loss[row, column, slot] = 0 if best > head.ignore_thresh else bce(objectness, 0)
    for truth, anchor in responsible(head, labels, anchors):
        slot, column, row = head.mask.index(anchor), int(truth[0] * columns), int(truth[1] * rows)
        raw = output[row, column, slot]
        object_loss[row, column, slot] = bce(raw[4], 1)
        xy = bce(raw[0], truth[0] * columns - column) + bce(raw[1], truth[1] * rows - row)
        wh = 0.5 * np.sum((np.log(truth[2:4] / anchors[anchor]) - raw[2:4]) ** 2)
        hot = np.eye(3)[int(truth[4])] * (1 - head.label_smooth_eps) + head.label_smooth_eps / 2
        classes = sum(bce(raw[5 + number], hot[number]) for number in range(3))
        others[row, column, slot] = (2 - truth[2] * truth[3]) * (xy + wh) + classes
    return object_loss.sum() + sum(others.values())


@pytest.mark.parametrize("iou_thresh", [1.0, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_v3_loss_equals_darknets_loop(seed, iou_thresh):
    outputs, labels = raw_heads(seed), truths(seed + 100)
    heads = [replace(head, iou_thresh=iou_thresh, label_smooth_eps=0.1 * (seed % 2)) for head in HEADS]
    expected = np.mean(
        [
            sum(
                plain_loss(head, output[image], labels[image])
                for head, output in zip(heads, outputs, strict=True)
            )
            for image in range(2)
        ]
    )
    found = float(YoloLoss(heads, SIZE)(labels, [ops.convert_to_tensor(output) for output in outputs]))
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["v3", "ciou"])
def test_a_perfect_prediction_has_almost_no_loss(kind):
    head, grid = HEADS[1], GRIDS[1]
    labels = np.zeros((1, 8, 5), "float32")
    labels[0, 0] = [3.25 / 8, 2.5 / 6, 23 / 128, 27 / 96, 1]
    output = np.full((*grid, 3, 8), -20, "float32")
    output[2, 3, 1] = [np.log(0.25 / 0.75), 0, 0, 0, 20, -20, 20, -20]
    loss = YoloLoss((head,), SIZE, kind)
    perfect = float(loss(labels, [output.reshape(1, *grid, 24)]))
    output[2, 3, 1, 2] = 1.0
    worse = float(loss(labels, [output.reshape(1, *grid, 24)]))
    # BCE of a fraction is its own entropy at best.
    entropy = 0.0 if kind == "ciou" else (2 - labels[0, 0, 2] * labels[0, 0, 3]) * (0.5623 + 0.6931)
    assert perfect == pytest.approx(entropy, abs=2e-3)
    assert worse > perfect + 0.1


def overlap_in_shares(kind, box, truth):
    return float(
        paired_overlap(*(ops.convert_to_tensor(one[None, None]) for one in (box, truth)), kind)[0, 0]
    )


@pytest.mark.parametrize("kind", ["iou", "giou", "diou", "ciou"])
@pytest.mark.parametrize("max_delta", [np.inf, 0.02])
def test_iou_losses_have_the_gradients_that_darknet_writes(kind, max_delta):
    """delta_yolo_box: d overlap / d box in shares, without the factors of cell, anchor and sigmoid."""
    import tensorflow as tf

    head = replace(HEADS[1], iou_normalizer=0.07, max_delta=max_delta)
    grid, raw = GRIDS[1], np.array([0.3, -0.2, 0.1, -0.15])
    truth = np.array([3.4 / 8, 2.3 / 6, 24 / 128, 26 / 96], "float64")
    labels = np.zeros((1, 8, 5), "float32")
    labels[0, 0, :4], labels[0, 0, 4] = truth, 1
    output = np.zeros((1, *grid, 3, 8), "float32")
    output[0, 2, 3, 1, :4] = raw
    variable = tf.Variable(output.reshape(1, *grid, 24))
    with tf.GradientTape() as tape:
        value = YoloLoss((head,), SIZE, kind)(labels, [variable])
    found = tape.gradient(value, variable).numpy().reshape(*grid, 3, 8)[2, 3, 1, :4]

    size = np.exp(raw[2:]) * head.anchors[1] / np.array([SIZE[1], SIZE[0]])
    box = np.array([(3 + sigmoid(raw[0])) / grid[1], (2 + sigmoid(raw[1])) / grid[0], *size])
    steps = 1e-4 * np.eye(4)
    slopes = [
        (overlap_in_shares(kind, box + step, truth) - overlap_in_shares(kind, box - step, truth)) / 2e-4
        for step in steps
    ]
    expected = -0.07 * np.array(slopes) * np.array([1, 1, *np.exp(raw[2:])])
    # CIoU's alpha counts as a constant.
    tolerance = 0.1 if kind == "ciou" else 0.02
    np.testing.assert_allclose(found, np.clip(expected, -max_delta, max_delta), atol=tolerance * 0.07)


@pytest.mark.parametrize(
    ("change", "word"), [({"iou_loss": "eiou"}, "iou_loss"), ({"truth_thresh": 0.9}, "truth_thresh")]
)
def test_what_a_cfg_asks_and_the_loss_lacks_is_refused_by_name(change, word):
    with pytest.raises(LookonceError, match=word):
        YoloLoss([replace(HEADS[0], **change)], SIZE)


def test_loss_of_the_cfg_is_its_iou_loss():
    outputs, labels = raw_heads(1), truths(1)
    by_cfg = YoloLoss([replace(head, iou_loss="giou") for head in HEADS], SIZE)(labels, outputs)
    assert float(by_cfg) == pytest.approx(float(YoloLoss(HEADS, SIZE, "giou")(labels, outputs)))
    assert float(by_cfg) != pytest.approx(float(YoloLoss(HEADS, SIZE)(labels, outputs)))


@pytest.mark.parametrize("kind", ["v3", "giou", "ciou"])
@pytest.mark.parametrize(
    "truth",
    [
        [0, 0, 0, 0, 0],
        [0.5, 0.5, 0, 0.2, 0],
        [0.5, 0.5, -0.1, 0.2, 0],
        [1, 1, 1e-7, 1e-7, 2],
        [0.5, 0.5, 1, 1, 0],
        [1.5, -2, 5, 5, 1],
        [np.nan, 0.5, 0.1, 0.1, 0],
        [np.inf, np.inf, np.inf, np.inf, np.inf],
        [0.5, 0.5, 0.1, 0.1, 7],
        [0.5, 0.5, 0.1, 0.1, -1],
    ],
)
@pytest.mark.parametrize("size_of_raw", [0, 1, 1000])
def test_loss_and_gradient_are_finite_for_every_legal_and_illegal_box(kind, truth, size_of_raw):
    import tensorflow as tf

    labels = np.array([[truth] * 3 + [[0, 0, 0, 0, 0]] * 5], "float32")
    heads = [tf.constant(head[:1] * size_of_raw) for head in raw_heads(0)]
    with tf.GradientTape() as tape:
        tape.watch(heads)
        loss = YoloLoss(HEADS, SIZE, kind)(labels, heads)
    assert np.isfinite(float(loss))
    for gradient in tape.gradient(loss, heads):
        assert np.isfinite(gradient.numpy()).all()


def test_scale_x_y_and_new_coords_heads_reach_their_target():
    import tensorflow as tf

    for new_coords, scale in ((False, 1.2), (True, 2.0)):
        head = Head(
            layer=1, classes=3, mask=(3, 4, 5), all_anchors=ANCHORS, scale_x_y=scale, new_coords=new_coords
        )
        labels = np.zeros((1, 8, 5), "float32")
        labels[0, 0] = [0.4, 0.45, 0.55, 0.6, 2]
        variable = tf.Variable(np.full((1, 3, 4, 24), 0.5 if new_coords else 0.0, "float32"))
        loss = YoloLoss((head,), SIZE, "v3")
        losses = []
        for _ in range(60):
            with tf.GradientTape() as tape:
                value = loss(labels, [variable])
            variable.assign_sub((0.005 if new_coords else 0.3) * tape.gradient(value, variable))
            losses.append(float(value))
        assert losses[-1] < 0.5 * losses[0]
