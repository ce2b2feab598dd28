import numpy as np
import pytest

from lookonce.darknet import generate
from lookonce.models.keras import build, start_heads


@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov4-tiny"])
def test_new_head_predicts_one_object_in_a_hundred(name: str):
    cfg = generate(name, classes=3, input_size=(64, 96))
    model = build(cfg)
    image = np.random.default_rng(0).random((2, 64, 96, 3), np.float32)
    before = [np.asarray(head) for head in model(image, training=False)]
    start_heads(model, cfg)
    after = [np.asarray(head) for head in model(image, training=False)]
    for head, old, new in zip(cfg.heads, before, after, strict=True):
        slots = (*old.shape[:3], len(head.mask), 8)
        moved = new.reshape(slots) - old.reshape(slots)
        np.testing.assert_allclose(moved[..., 4], np.log(0.01 / 0.99), atol=1e-5)
        np.testing.assert_allclose(np.delete(moved, 4, axis=-1), 0, atol=1e-6)
