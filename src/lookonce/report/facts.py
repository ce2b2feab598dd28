"""The data that a training report is built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lookonce._version import __version__
from lookonce.core.model_card import ModelCard
from lookonce.darknet import parse_cfg
from lookonce.evaluation import GroundTruth, Metrics
from lookonce.labels import CheckedDataset
from lookonce.runs.machine import describe_machine
from lookonce.runs.record import EpochTime, RunRecord, count_parameters, flat

if TYPE_CHECKING:
    from lookonce.core.detections import Detections
    from lookonce.evaluation.validation import Measurement


def describe_run(
    card: ModelCard,
    settings: Mapping[str, Any],
    checked: CheckedDataset,
    lists: Mapping[str, Sequence[int]],
    backend: str,
) -> RunRecord:
    """Return the run.json record of a run that is about to start."""
    data: dict[str, Any] = {"name": checked.dataset.name}
    for key, indices in lists.items():
        boxes = sum(len(checked.records[index].boxes) for index in indices)
        data[key] = {"images": len(indices), "boxes": boxes, "sha256": checked.digest(indices)}
    return RunRecord(
        model=card.name,
        parameters=count_parameters(parse_cfg(card.cfg)),
        input_size=card.input_size,
        classes=card.classes,
        settings=flat(settings),
        data=data,
        machine=describe_machine(backend),
        lookonce=__version__,
    )


class TrainingBatches(Protocol):
    """Training batches that can be regenerated for the report."""

    epoch: int
    closing_from: int | None

    @property
    def mixes_images(self) -> bool:
        """Whether augmentation combines several images into one, as mosaic and mixup do."""
        ...

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return images (b, h, w, 3) and ground truth (b, t, 5): cx, cy, w, h in 0..1, class."""
        ...


@dataclass(frozen=True)
class RunFacts:
    """A finished training run.

    `card` describes the saved model and has the metrics of its epoch; `rows` are those of metrics.csv.
    `lists` has indices into `checked`: "train" and "val". `batches` regenerates the training batches.
    `measured` is the evaluation of the saved model on `lists["val"]`, or None without validation images.
    """

    root: Path
    card: ModelCard
    record: RunRecord
    checked: CheckedDataset
    lists: Mapping[str, Sequence[int]]
    rows: Sequence[Mapping[str, float]]
    times: Sequence[EpochTime] = ()
    batches: TrainingBatches | None = None
    measured: Measurement | None = None
    started: str = ""
    ground_truth: Sequence[GroundTruth] = field(init=False)

    def __post_init__(self) -> None:
        records = [self.checked.records[index] for index in self.lists.get("val", ())]
        ground_truth = [GroundTruth(one.boxes, one.classes, one.difficult, one.size) for one in records]
        object.__setattr__(self, "ground_truth", ground_truth)

    @property
    def metrics(self) -> Metrics | None:
        """The saved model's validation metrics, or None without validation images."""
        return self.measured.metrics if self.measured else None

    @property
    def predictions(self) -> Sequence[Detections]:
        """The saved model's detections, one item per image of `lists["val"]`."""
        return self.measured.predictions if self.measured else ()

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the saved model, or None if validation did not select it."""
        epoch = self.card.metrics.get("epoch")
        return int(epoch) if epoch is not None and self.measured else None
