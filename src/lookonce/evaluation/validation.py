"""Measuring detectors on labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lookonce.core.detections import Detections
from lookonce.errors import LookonceError, listing
from lookonce.evaluation import GroundTruth, Metrics, evaluate, plots, rank_images
from lookonce.evaluation.image_plot import plot_images
from lookonce.io.images import ImageError, read_image
from lookonce.labels import CheckedDataset, Dataset, check, fatal

# Detections below do not change the average precision; Darknet's COCO validation uses the same.
AP_CONFIDENCE = 0.001
NMS_IOU = 0.45
SHOWN_IMAGES = 6


class ImageDetector(Protocol):
    """Anything that detects objects in image files, in order."""

    def detect_many(self, images: Iterable[Path], /) -> Iterator[tuple[Path, Detections | ImageError]]:
        """Yield each image with its detections, or with the error for an unreadable image."""
        ...


@dataclass(frozen=True)
class Measurement:
    """Metrics, and the detections (down to AP_CONFIDENCE, one entry per image) that they come from."""

    metrics: Metrics
    predictions: list[Detections]


class Validation:
    """Labelled images to measure detectors on."""

    def __init__(self, checked: CheckedDataset, indices: Sequence[int]) -> None:
        self.records = [checked.records[index] for index in indices]
        self.names = checked.class_names
        self.ground_truth = [
            GroundTruth(record.boxes, record.classes, record.difficult, record.size)
            for record in self.records
        ]

    @classmethod
    def of_split(
        cls, data: str | Path | Dataset, class_names: Sequence[str], split: str | None, seed: int = 0
    ) -> Validation:
        """Open one split of a labelled folder, or all images for None.

        Args:
            data: the dataset, or its folder.
            class_names: the detector's classes, in order.
            split: name of the split.
            seed: seed of the split, where the dataset has no lists.

        Raises:
            LookonceError: no dataset there, fatal findings, classes that the detector does not have, or no
                usable image in the split.
        """
        dataset = data if isinstance(data, Dataset) else Dataset.open(data)
        checked = check(dataset, class_names)
        if foreign := checked.unknown_classes:
            counts = listing(f"{name} ({boxes} boxes)" for name, boxes in foreign.items())
            raise LookonceError(
                f"{dataset.root}: labelled with classes that the model does not have: {counts}. "
                f"The model has {len(class_names)}: {listing(class_names)}. "
                "Measure on labels of these classes, or rename or delete the boxes of the others."
            )
        fatal(checked)
        chosen = range(len(checked.records)) if split is None else checked.dataset.split(split, seed)
        indices = checked.indices(list(chosen))
        if not indices:
            where = "it" if split is None else f"its split {split!r}"
            raise LookonceError(f"{dataset.root}: {where} has no usable image.")
        return cls(checked, indices)

    def measure(
        self,
        detector: ImageDetector,
        confidence: float = 0.3,
        progress: Callable[[int, int], None] | None = None,
    ) -> Measurement:
        """Run `detector` on all images and compute metrics at `confidence`.

        Raises ImageError for an unreadable image, whose objects would count as missed.
        """
        predictions: list[Detections] = []
        for _, result in detector.detect_many([record.image for record in self.records]):
            if isinstance(result, ImageError):
                raise result
            predictions.append(result)
            if progress is not None:
                progress(len(predictions), len(self.records))
        return Measurement(evaluate(self.ground_truth, predictions, self.names, confidence), predictions)

    def scores(self, detector: ImageDetector) -> dict[str, float]:
        """Measure `detector` and return the validation columns of metrics.csv."""
        metrics = self.measure(detector).metrics
        return {"val_map": metrics.ap50, "val_ap": metrics.ap, "val_ap75": metrics.ap75}

    def write_plots(self, measured: Measurement, folder: Path) -> None:
        """Write pr.png, confusion.png, worst.png and best.png to `folder`."""
        confidence = measured.metrics.confidence
        plots.plot_pr(measured.metrics, folder / "pr.png")
        plots.plot_confusion(
            self.ground_truth, measured.predictions, self.names, folder / "confusion.png", confidence
        )
        ranked = rank_images(self.ground_truth, measured.predictions, confidence)
        for name, chosen in (("worst", ranked), ("best", ranked[::-1])):
            tiles = [
                (
                    read_image(self.records[index].image),
                    self.ground_truth[index],
                    measured.predictions[index],
                    f"{self.records[index].name}: F1 {score:.2f}",
                )
                for score, index in chosen[:SHOWN_IMAGES]
            ]
            plot_images(tiles, folder / f"{name}.png", confidence)
