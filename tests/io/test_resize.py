from pathlib import Path

import cv2
import numpy as np
import pytest

from lookonce.core.boxes import LETTERBOX, STRETCH
from lookonce.io.resize import resize_darknet, to_input


def darknet_by_the_loop(image, width, height):
    """Darknet's resize_image, loop by loop."""
    high, wide = image.shape[:2]
    part = np.zeros((high, width, 3))
    for c in range(width):
        if c == width - 1 or wide == 1:
            part[:, c] = image[:, wide - 1]
        else:
            place = c * (wide - 1) / (width - 1)
            at = int(place)
            part[:, c] = (1 - (place - at)) * image[:, at] + (place - at) * image[:, at + 1]
    full = np.zeros((height, width, 3))
    for r in range(height):
        if r == height - 1 or high == 1:
            full[r] = part[high - 1]
        else:
            place = r * (high - 1) / (height - 1)
            at = int(place)
            full[r] = (1 - (place - at)) * part[at] + (place - at) * part[at + 1]
    return full


@pytest.mark.parametrize("size", [(7, 5), (40, 31), (13, 60), (23, 17), (1, 9)])
def test_resize_matches_darknets_loops(size):
    image = np.random.default_rng(0).random((17, 23, 3)).astype(np.float32)
    np.testing.assert_allclose(resize_darknet(image, *size), darknet_by_the_loop(image, *size), atol=3e-6)


@pytest.mark.parametrize("size", [(20, 50), (50, 20), (90, 70), (50, 30), (3, 40)])
def test_strips_join_and_strided_views_are_read(size):
    # More rows than one strip, of an image with negative and large strides.
    whole = np.random.default_rng(3).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    view = whole[::-2, ::2, ::-1]
    expected = darknet_by_the_loop(view / 255, *size)
    np.testing.assert_allclose(resize_darknet(view, *size), expected, atol=3e-6)
    np.testing.assert_array_equal(
        resize_darknet(view, *size), resize_darknet(np.ascontiguousarray(view), *size)
    )


def test_uint8_is_scaled_and_corners_are_kept():
    image = np.random.default_rng(1).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    resized = resize_darknet(image, 20, 20)
    assert resized.dtype == np.float32
    assert resized.shape == (20, 20, 3)
    np.testing.assert_allclose(
        resized[[0, 0, -1, -1], [0, -1, 0, -1]] * 255, image[[0, 0, -1, -1], [0, -1, 0, -1]]
    )


def test_image_of_the_target_size_is_unchanged():
    image = np.random.default_rng(2).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    np.testing.assert_allclose(to_input(image, (32, 64), STRETCH)[0], image / np.float32(255), atol=1e-7)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 2000)])
def test_tiny_and_flat_images_are_resized(shape):
    filled, geometry = to_input(np.full((*shape, 3), 255, np.uint8), (64, 96), LETTERBOX)
    assert filled.shape == (64, 96, 3)
    assert filled.max() == pytest.approx(1)
    assert geometry.pasted_width >= 1
    assert geometry.pasted_height >= 1


def test_letterbox_border_is_half_grey():
    filled, geometry = to_input(np.zeros((50, 100, 3), np.uint8), (101, 100), LETTERBOX)
    assert (geometry.pasted_top, geometry.pasted_height) == (25, 50)
    assert (filled[:25] == 0.5).all()
    assert (filled[25:75] == 0).all()
    assert (filled[75:] == 0.5).all()


@pytest.mark.parametrize(
    ("case", "resize"),
    [
        ("letterbox_alexeyab_dog", LETTERBOX),
        ("letterbox_pjreddie_dog", LETTERBOX),
        ("stretch_alexeyab_dog", STRETCH),
        ("stretch_alexeyab_person", STRETCH),
    ],
)
def test_input_matches_darknet(shared: Path, case: str, resize: str):
    expected = np.load(shared / "reference" / f"yolo-fastest-1.1-xl_{case}.npz")["input_chw"].transpose(
        1, 2, 0
    )
    image = cv2.imread(str(shared / "images" / f"{case.rpartition('_')[2]}.jpg"))[..., ::-1]
    found, _ = to_input(image, expected.shape[:2], resize)
    difference = np.abs(found - expected)
    # The remaining difference comes from the two JPEG decoders.
    assert difference.mean() < 6e-4
    assert difference.max() < 0.05
