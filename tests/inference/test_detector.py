import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lookonce.errors import LookonceError
from lookonce.inference import Detector
from lookonce.io.images import ImageError, read_image
from lookonce.models.open import open_model


def pair_of(shared: Path) -> dict[str, Any]:
    folder = shared / "weights"
    cfg = folder / "yolo-fastest" / "yolo-fastest-1.1.cfg"
    return {"weights": cfg.with_suffix(".weights"), "classes": folder / "cfg" / "coco.names"} | {
        "path": cfg,
        "resize": "stretch",
    }


@pytest.fixture(scope="module")
def detector(shared: Path) -> Detector:
    pair = pair_of(shared)
    return Detector(pair.pop("path"), **pair)


def test_a_path_and_its_pixels_give_the_same(detector: Detector, shared: Path):
    path = shared / "images" / "dog.jpg"
    first, second = detector.detect(path), detector.detect(read_image(path))
    assert "dog" in {first.names[label] for label in first.classes}
    assert first.image_size == (768, 576)
    assert (np.diff(first.scores) <= 0).all()
    np.testing.assert_array_equal(first.boxes, second.boxes)
    assert first.boxes.dtype == first.scores.dtype == np.float32


def test_many_come_in_order_with_the_unreadable_among_them(detector: Detector, shared: Path, tmp_path: Path):
    good = sorted((shared / "images").glob("*.jpg"))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8nothing")
    items = [good[0], broken, *good[1:], tmp_path / "missing.jpg", good[0]]
    answers = list(detector.detect_many(iter(items), batch=3))
    assert [item for item, _ in answers] == items
    assert [isinstance(answer, ImageError) for _, answer in answers] == [item not in good for item in items]
    for path, answer in answers:
        if path in good:
            alone = detector.detect(path)
            assert len(answer) == len(alone)
            np.testing.assert_allclose(answer.boxes, alone.boxes, atol=0.05)


def test_the_pixels_come_along_but_for_large_images(detector: Detector, tmp_path: Path):
    sizes = [(40, 30), (3000, 2000), (30, 40)]
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, size in zip(paths, sizes, strict=True):
        Image.new("RGB", size, (9, 8, 7)).save(path)
    paths.insert(1, tmp_path / "missing.png")
    small, missing, large, last = detector.stream(paths, batch=2)
    assert [one.source for one in (small, missing, large, last)] == paths
    assert small.image is not None
    assert small.image.shape == (30, 40, 3)
    assert missing.image is None
    assert isinstance(missing.detections, ImageError)
    assert large.image is None
    assert large.detections.image_size == (3000, 2000)
    assert last.image is not None


def test_a_caller_who_leaves_early_leaves_no_threads(detector: Detector, shared: Path):
    before = threading.active_count()
    images = sorted((shared / "images").glob("*.jpg")) * 5
    looks = detector.detect_many(images, batch=2)
    assert next(looks)[0] == images[0]
    looks.close()
    assert threading.active_count() == before


def test_no_images_give_no_answers(detector: Detector):
    assert list(detector.detect_many([])) == []


def test_boxes_end_at_the_images_edge(detector: Detector, shared: Path):
    pair = pair_of(shared)
    low = Detector(pair.pop("path"), **pair, conf=0.01)
    found = low.detect(shared / "images" / "horses.jpg")
    width, height = found.image_size
    assert found.boxes.min() >= 0
    assert found.boxes[:, 2].max() <= width
    assert found.boxes[:, 3].max() <= height


def test_a_network_in_memory_is_followed(shared: Path):
    network, card = open_model(**pair_of(shared))
    detector = Detector.from_keras(network, card)
    path = shared / "images" / "dog.jpg"
    before = detector.detect(path)
    saved = network.get_weights()
    network.set_weights([np.zeros_like(one) for one in saved])
    nothing = detector.detect(path)
    network.set_weights(saved)
    assert len(nothing) == 0
    assert len(detector.detect(path)) == len(before) > 0


@pytest.mark.parametrize("shape", [(10, 10), (10, 10, 4), (0, 10, 3)])
def test_an_array_of_another_form_is_refused(detector: Detector, shape: tuple[int, ...]):
    with pytest.raises(LookonceError, match="uint8 RGB"):
        detector.detect(np.zeros(shape, np.uint8))


def test_thresholds_outside_0_to_1_are_refused(shared: Path):
    pair = pair_of(shared)
    with pytest.raises(LookonceError, match="conf"):
        Detector(pair.pop("path"), **pair, conf=30)
