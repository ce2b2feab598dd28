"""Images made of several keep every box on its object, and end with the closing epochs."""

from __future__ import annotations

import numpy as np
import pytest

from lookonce.training.data.augment import NONE, Augmentation
from lookonce.training.data.batches import Batches, Sample
from lookonce.training.data.mosaic import compose

SIZE = (96, 128)
PLAIN = {"hue": 0.0, "saturation": 1.0, "exposure": 1.0}
MOSAIC = Augmentation(mosaic=1.0, **PLAIN)
MIXUP = Augmentation(mixup=1.0, smallest=1.0, largest=1.0, flip=False, **PLAIN)


def part(level: int, number: int):
    """An image with one bright square, its box, its class."""
    image = np.zeros((96, 128, 3), np.uint8)
    image[30:60, 40:80] = level
    return image, np.array([[40, 30, 80, 60]], np.float32), np.array([number])


def samples(count: int = 6) -> list[Sample]:
    parts = [part(100 + 20 * number, number % 2) for number in range(count)]
    return [Sample(lambda image=image: image, boxes, classes) for image, boxes, classes in parts]


def test_every_box_of_a_mosaic_lies_on_its_object():
    parts = [part(200, 0), part(240, 1)]
    found = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        image, boxes, classes = compose(
            parts[0], lambda rng: parts[int(rng.integers(2))], rng, SIZE, "stretch", MOSAIC
        )
        assert image.shape == (*SIZE, 3)
        assert len(boxes) == len(classes)
        for box, number in zip(boxes, classes, strict=True):
            left, top, right, bottom = box.round().astype(int)
            assert 0 <= left < right <= SIZE[1]
            assert 0 <= top < bottom <= SIZE[0]
            inside = image[top + 1 : bottom - 1, left + 1 : right - 1]
            if inside.size:
                assert np.median(inside) == (200, 240)[number]
                found += 1
    assert found > 60


def test_all_that_is_seen_of_an_object_has_a_box():
    """What is bright and outside of all boxes is too little of an object to be one."""
    one = part(200, 0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        image, boxes, _ = compose(one, lambda rng: one, rng, SIZE, "stretch", MOSAIC)
        bright = image[..., 0] == 200
        for left, top, right, bottom in boxes.round().astype(int):
            bright[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = False
        # Of each of four windows at most the share that may be cut away, of the largest object.
        assert bright.sum() < 4 * MOSAIC.least_visible * 30 * 40 * MOSAIC.largest**2


def test_mixup_keeps_the_boxes_of_both():
    first, second = part(200, 0), part(100, 1)
    rng = np.random.default_rng(1)
    image, boxes, classes = compose(first, lambda rng: second, rng, SIZE, "stretch", MIXUP)
    assert classes.tolist() == [0, 1]
    np.testing.assert_allclose(boxes[0], boxes[1])
    assert 100 < image[45, 60, 0] < 200


def test_the_closing_epochs_see_whole_images():
    batches = Batches(samples(), 2, SIZE, "stretch", Augmentation(mosaic=1.0, **PLAIN), 0, closing_from=3)
    counts = []
    for epoch in (2, 3):
        batches.epoch = epoch
        counts.append([int((batches[number][1][..., 2] > 0).sum(axis=1).max()) for number in range(3)])
    assert max(counts[0]) > 1
    assert max(counts[1]) == 1


def test_who_is_first_makes_no_difference():
    def batch(order: tuple[int, ...]) -> list[np.ndarray]:
        batches = Batches(samples(), 2, SIZE, "stretch", Augmentation(mosaic=0.5, mixup=0.5), 7)
        made = {number: batches[number] for number in order}
        return [made[number][0] for number in range(3)]

    for one, other in zip(batch((0, 1, 2)), batch((2, 0, 1)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("how", [MOSAIC, Augmentation(mosaic=1.0, mixup=1.0)])
def test_more_boxes_than_rows_lose_some_and_break_nothing(how: Augmentation):
    many = np.tile(np.array([[40, 30, 80, 60]], np.float32), (50, 1))
    image = np.full((96, 128, 3), 200, np.uint8)
    crowd = [Sample(lambda: image, many, np.zeros(50, np.int64))] * 4
    batches = Batches(crowd, 2, SIZE, "stretch", how, 0)
    _, truths = batches[0]
    assert truths.shape == (2, batches.most_boxes, 5)
    assert (truths[..., 2] > 0).sum() > 50


def test_none_changes_nothing():
    image, boxes, classes = compose(part(200, 0), None, np.random.default_rng(0), SIZE, "stretch", NONE)
    np.testing.assert_array_equal(image, part(200, 0)[0])
    np.testing.assert_array_equal(boxes, part(200, 0)[1])
    assert classes.tolist() == [0]
