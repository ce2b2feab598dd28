"""Synthetic runs for report tests: labelled noise images and perturbed detections, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from lookonce.core.detections import Detections
from lookonce.core.model_card import ModelCard
from lookonce.darknet import customise, published
from lookonce.evaluation import evaluate
from lookonce.evaluation.validation import Measurement
from lookonce.labels import CheckedDataset, Dataset, check
from lookonce.report.facts import RunFacts, describe_run
from lookonce.runs.record import EpochTime
from lookonce.training.data.augment import Augmentation
from lookonce.training.data.batches import Batches, samples_of

INPUT_SIZE = (96, 128)
ANCHORS = np.array([[12, 12], [20, 24], [30, 30], [36, 40], [50, 44], [80, 70]], np.float32)
NAMES = ("fox", "hen", "cat")


def write_set(
    folder: Path,
    names: Sequence[str] = NAMES,
    images: int = 12,
    objects: int = 4,
    size: tuple[int, int] = (160, 120),
    files: str = "image",
) -> Path:
    """Create a Pascal VOC dataset of noise with `objects` boxes per image; one box has no area."""
    rng = np.random.default_rng(0)
    for part in ("Annotations", "JPEGImages"):
        (folder / part).mkdir(parents=True)
    width, height = size
    for number in range(images):
        name = f"{files}{number:02d}.jpg"
        noise = rng.integers(0, 255, (height, width, 3), np.uint8)
        Image.fromarray(noise).save(folder / "JPEGImages" / name, quality=95)
        rows = [_object("" if number else names[0], 10, 10, 10, 30)] if number == 0 else []
        for index in range(objects):
            left, top = rng.uniform(0, 0.6, 2) * size
            wide, high = rng.uniform(0.1, 0.35, 2) * size
            rows.append(_object(names[(number + index) % len(names)], left, top, left + wide, top + high))
        (folder / "Annotations" / f"{files}{number:02d}.xml").write_text(
            f"<annotation><filename>{escape(name)}</filename><size><width>{width}</width>"
            f"<height>{height}</height><depth>3</depth></size>{''.join(rows)}</annotation>",
            encoding="utf-8",
        )
    return folder


def _object(name: str, *corners: float) -> str:
    box = "".join(
        f"<{tag}>{value:.1f}</{tag}>"
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    return f"<object><name>{escape(name)}</name><bndbox>{box}</bndbox></object>"


def guesses(checked: CheckedDataset, indices: Sequence[int], seed: int = 1) -> list[Detections]:
    """Derive detections from labels: shifted, some misclassified, some missed, some false positives."""
    rng = np.random.default_rng(seed)
    detections = []
    for index in indices:
        record = checked.records[index]
        kept = rng.random(len(record.boxes)) < 0.8
        boxes = record.boxes[kept] + rng.normal(0, 2, (kept.sum(), 4)).astype(np.float32)
        classes = record.classes[kept].copy()
        misclassified = rng.random(len(classes)) < 0.15
        classes[misclassified] = (classes[misclassified] + 1) % len(checked.class_names)
        boxes = np.concatenate([boxes, np.array([[1, 1, 40, 50]], np.float32)])
        classes = np.append(classes, 0)
        scores = np.sort(rng.uniform(0.05, 1, len(classes)).astype(np.float32))[::-1]
        detections.append(Detections(boxes, scores, classes, checked.class_names, record.size))
    return detections


def facts(
    data: Path,
    out: Path,
    *,
    validated: bool = True,
    detections: bool = True,
    epochs: int = 5,
    mosaic: float = 0.0,
    rows: list[dict[str, float]] | None = None,
) -> RunFacts:
    """Return the facts of a run on `data`; every third image is for validation."""
    checked = check(Dataset.open(data))
    lists = {
        "train": [index for index in range(len(checked.records)) if index % 3],
        "val": [index for index in range(len(checked.records)) if not index % 3] if validated else [],
    }
    cfg = customise(published("yolov3-tiny"), len(checked.class_names), ANCHORS, INPUT_SIZE)
    scores = {"epoch": 3, "val_map": 0.5} if validated else {"epoch": epochs}
    card = ModelCard("yolov3-tiny", checked.class_names, INPUT_SIZE, "letterbox", cfg.text, metrics=scores)
    measured = None
    if validated:
        predictions = guesses(checked, lists["val"])
        if not detections:
            predictions = [one.best(0) for one in predictions]
        ground_truth = RunFacts(out, card, _record(card, checked, lists), checked, lists, []).ground_truth
        measured = Measurement(evaluate(ground_truth, predictions, checked.class_names), predictions)
    if rows is None:
        rows = [
            {"epoch": epoch, "stage": 1 + (epoch > 1), "loss": 90 / epoch}
            | (
                {"val_map": 0.1 * epoch, "val_ap": 0.05 * epoch, "val_ap75": 0.04 * epoch}
                if validated
                else {}
            )
            for epoch in range(1, epochs + 1)
        ]
    return RunFacts(
        root=out,
        card=card,
        record=_record(card, checked, lists),
        checked=checked,
        lists=lists,
        rows=rows,
        times=[EpochTime(epoch, 2.5, 0.5 * validated) for epoch in range(1, epochs + 1)],
        batches=Batches(
            samples_of(checked, lists["train"]),
            4,
            INPUT_SIZE,
            "letterbox",
            Augmentation(mosaic=mosaic),
            0,
            closing_from=epochs - 1,
        ),
        measured=measured,
        started="2026-01-02T03:04:05+00:00",
    )


def _record(card: ModelCard, checked: CheckedDataset, lists: dict[str, list[int]]) -> Any:
    return describe_run(card, {"epochs": 5, "augmentation": {"hue": 0.02}}, checked, lists, "tensorflow")
