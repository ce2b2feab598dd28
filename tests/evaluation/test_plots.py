from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookonce.core.detections import Detections
from lookonce.evaluation import GroundTruth, evaluate, plots

NAMES = ("fox", "Katze über", "dog")


def case(images: int) -> tuple[list[GroundTruth], list[Detections]]:
    rng = np.random.default_rng(0)
    labels_of_images, predictions = [], []
    for count in rng.integers(0, 4, images):
        corner = rng.random((count, 2)) * 100
        boxes = np.concatenate([corner, corner + 40], axis=1).astype(np.float32)
        labels = rng.integers(0, 3, count)
        labels_of_images.append(GroundTruth(boxes, labels, np.zeros(count, bool), (160, 140)))
        scores = rng.random(count).astype(np.float32)
        predictions.append(Detections(boxes + 3, scores, rng.integers(0, 3, count), NAMES, (160, 140)))
    return labels_of_images, predictions


def is_a_image(path: Path) -> bool:
    with Image.open(path) as image:
        return min(image.size) > 200 and len(np.unique(np.asarray(image.convert("L")))) > 5


@pytest.mark.parametrize("images", [0, 1, 20])
def test_results_are_plotted(tmp_path: Path, images: int):
    labels_of_images, predictions = case(images)
    plots.plot_pr(evaluate(labels_of_images, predictions, NAMES), tmp_path / "pr.png")
    plots.plot_confusion(labels_of_images, predictions, NAMES, tmp_path / "confusion.png")
    image = np.full((140, 160, 3), 120, np.uint8)
    tiles = [(image, one, found, "one") for one, found in zip(labels_of_images, predictions, strict=True)][:6]
    plots.plot_images(tiles, tmp_path / "new folder" / "images.png")
    for name in ("pr.png", "confusion.png", "new folder/images.png"):
        assert is_a_image(tmp_path / name), name


@pytest.mark.parametrize("epochs", [0, 1, 30])
def test_curves_are_plotted_gaps_and_nan_included(tmp_path: Path, epochs: int):
    rows = [
        {
            "epoch": epoch,
            "stage": "whole",
            "loss": 900 / (epoch + 1),
            "val_map": float("nan") if epoch == 2 else 0.5,
        }
        for epoch in range(epochs)
    ]
    if rows:
        rows[-1]["val_map"] = ""
    plots.plot_curves(rows, tmp_path / "curves.png")
    assert is_a_image(tmp_path / "curves.png")


@pytest.mark.parametrize("boxes", [0, 1, 3000])
def test_anchors_are_plotted(tmp_path: Path, boxes: int):
    sizes = (np.random.default_rng(0).random((boxes, 2)) * 200).astype(np.float32)
    anchors = np.array([[100, 90], [20, 30], [200, 180]], np.float32)
    plots.plot_anchors(sizes, anchors, 0.7, tmp_path / "anchors.png")
    assert is_a_image(tmp_path / "anchors.png")
