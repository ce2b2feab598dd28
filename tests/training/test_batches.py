"""Batches: full, in an order that only the seed decides, safe to make in parallel."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lookonce.training.data.augment import NONE, Augmentation
from lookonce.training.data.batches import Batches, Sample


def samples(count=10):
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        boxes = np.array([[4, 4, 24, 28]] * (number % 3), np.float32).reshape(-1, 4)
        made.append(Sample(lambda image=image: image, boxes, np.full(len(boxes), number % 2)))
    return made


def make(seed=1, augmentation=None, **options):
    return Batches(samples(), 4, (64, 64), "letterbox", augmentation or Augmentation(), seed, **options)


def test_every_batch_is_full_and_every_image_comes_once_before_any_comes_twice():
    batches = make(augmentation=NONE)
    assert len(batches) == 3
    images = np.concatenate([batches[number][0] for number in range(3)])
    assert images.shape == (12, 64, 64, 3)
    assert len({image.tobytes() for image in images[:10]}) == 10


def test_truths_are_fractions_with_class_and_zero_padding():
    batches = make(augmentation=NONE)
    truths = np.concatenate([batches[number][1] for number in range(3)])[:10]
    used = truths[truths[..., 2] > 0]
    assert len(used) == sum(number % 3 for number in range(10))
    np.testing.assert_allclose(
        used[:, :4], [[14 / 64, (16 + 8) / 64, 20 / 64, 24 / 64]] * len(used), atol=1e-5
    )
    assert set(used[:, 4]) == {0, 1}


def test_workers_do_not_change_what_is_made():
    one_by_one = [make()[number] for number in range(3)]
    shared = make()
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(shared.__getitem__, range(3)))
    for (images, truths), (other_images, other_truths) in zip(one_by_one, together, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(truths, other_truths)


def test_epochs_differ_and_repeat():
    batches = make()
    first = batches[0][0]
    batches.epoch = 1
    assert (batches[0][0] != first).any()
    batches.epoch = 0
    np.testing.assert_array_equal(batches[0][0], first)


def test_a_small_memory_budget_reads_again_instead_of_growing():
    reads = []
    counted = [
        Sample(
            lambda number=number: reads.append(number) or np.zeros((48, 64, 3), np.uint8), s.boxes, s.classes
        )
        for number, s in enumerate(samples())
    ]
    batches = Batches(counted, 5, (64, 64), "letterbox", NONE, 0, cache_bytes=3 * 48 * 64 * 3)
    for _ in range(2):
        for number in range(2):
            batches[number]
    assert len(reads) == 10 + 7
