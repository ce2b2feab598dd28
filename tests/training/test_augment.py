"""One warp: the boxes must move exactly as the pixels do."""

import numpy as np
import pytest

from lookonce.training.data.augment import NONE, Augmentation, augment


def bright_rectangle(box, shape=(480, 640)):
    image = np.zeros((*shape, 3), np.uint8)
    left, top, right, bottom = box
    image[top:bottom, left:right] = 255
    return image


def bounds(image):
    rows, columns = np.nonzero((image > 200).all(axis=2))
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("seed", range(8))
def test_box_follows_its_pixels_through_scale_shift_and_flips(seed, resize):
    box = [250, 150, 390, 270]
    how = Augmentation(hue=0, saturation=1, exposure=1, flip_vertical=True)
    image, boxes, keep = augment(
        bright_rectangle(box),
        np.array([box], np.float32),
        np.random.default_rng(seed),
        (320, 416),
        resize,
        how,
    )
    assert keep.all()
    np.testing.assert_allclose(bounds(image), boxes[0], atol=1.6)


def test_without_augmentation_the_image_is_only_fitted():
    box = [100, 100, 300, 200]
    image, boxes, _ = augment(
        bright_rectangle(box),
        np.array([box], np.float32),
        np.random.default_rng(0),
        (416, 416),
        "letterbox",
        NONE,
    )
    assert image.shape == (416, 416, 3)
    np.testing.assert_allclose(boxes[0], [65, 117, 195, 182], atol=0.01)
    assert (image[:51] == 128).all()
    assert (image[-51:] == 128).all()


def test_boxes_pushed_out_are_dropped_and_cut_ones_clipped():
    how = Augmentation(smallest=3.0, largest=3.0001, flip=False)
    boxes = np.array([[0, 0, 20, 20], [620, 460, 640, 480], [0, 0, 640, 480]], np.float32)
    for seed in range(20):
        _, moved, keep = augment(
            np.zeros((480, 640, 3), np.uint8), boxes, np.random.default_rng(seed), (320, 416), "stretch", how
        )
        assert not keep[:2].all()
        assert (moved[keep] >= 0).all()
        assert (moved[keep] <= [416, 320, 416, 320]).all()
        assert not keep[2]  # a ninth of it is left, less than least_visible


def test_colour_changes_but_black_stays_black():
    image = np.zeros((64, 64, 3), np.uint8)
    image[32:] = (200, 40, 40)
    out, _, _ = augment(image, np.zeros((0, 4), np.float32), np.random.default_rng(3), (64, 64), "stretch",
                        Augmentation(smallest=1, largest=1, flip=False))  # fmt: skip
    assert (out[:30] == 0).all()
    assert (out[40:] != image[40:]).any()


def test_what_surrounds_the_image_stays_grey_whatever_its_colours_become():
    image = np.full((300, 500, 3), (200, 90, 30), np.uint8)
    how = Augmentation(smallest=0.5, largest=0.6, exposure=3.0, saturation=3.0)
    changed = 0
    for seed in range(20):
        found, _, _ = augment(
            image, np.zeros((0, 4), np.float32), np.random.default_rng(seed), (320, 416), "letterbox", how
        )
        grey = (found == 128).all(axis=2)
        # At most 0.6 of each side is image; a line of mixed pixels lies between.
        assert 0.55 < grey.mean() < 0.95
        changed += not (found == image[0, 0]).all(axis=2).any()
    assert changed > 15
