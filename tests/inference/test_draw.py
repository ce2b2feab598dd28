import numpy as np
import pytest

from lookonce.core.detections import Detections
from lookonce.inference import draw

NAMES = ("dog", "Hündin кошка", "a very long name of a class that no small image has room for")


def found(boxes, labels, size) -> Detections:
    scores = np.linspace(0.9, 0.4, len(labels)).astype(np.float32)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), scores, np.array(labels, np.int64), NAMES, size
    )


def test_the_image_itself_is_left_alone():
    image = np.full((120, 200, 3), 90, np.uint8)
    drawn = draw(image, found([[20, 30, 150, 100]], [0], (200, 120)))
    assert (image == 90).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    # The box's edge is there, its middle isn't touched.
    assert tuple(drawn[65, 20]) == (230, 159, 0)
    assert (drawn[60:90, 60:140] == 90).all()


def test_nothing_found_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert (draw(image, found([], [], (60, 40))) == image).all()


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (300, 8), (64, 48), (2000, 1500)])
def test_any_size_and_any_box_can_be_drawn(size: tuple[int, int]):
    width, height = size
    boxes = [[0, 0, width, height], [0, 0, 0, 0], [width, height, width, height], [-5, -5, width + 9, 3]]
    drawn = draw(np.zeros((height, width, 3), np.uint8), found(boxes, [0, 1, 2, 2], size))
    assert drawn.shape == (height, width, 3)
    assert drawn.any()
