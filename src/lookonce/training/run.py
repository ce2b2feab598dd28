"""The work around the epochs of a training: measuring, saving, timing, tracking."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras

from lookonce.core.model_card import ModelCard
from lookonce.evaluation.validation import AP_CONFIDENCE, NMS_IOU, Validation
from lookonce.inference import Detector
from lookonce.models.keras import save_model
from lookonce.runs.folder import RunFolder
from lookonce.runs.record import Stopwatch
from lookonce.runs.tracking import NoTracking, Tracking
from lookonce.training.progress import Reporter


@dataclass
class TrainingRun:
    """One run in its folder.

    Args:
        folder: where its files go.
        card: the model's card; metrics of the epoch are added when it is saved.
        identity: settings that must be equal when the run is resumed.
        validation: what each epoch is measured on; None keeps the last epoch.
        resume: continue from the state in the folder.
        reporter: prints the progress.
        tracking: where each epoch's figures go.
        callbacks: the user's, called as by `keras.Model.fit`, once for the whole run. Their model is the network;
            in `on_epoch_end` it carries the averaged weights, and `model.stop_training` ends the run.
    """

    folder: RunFolder
    card: ModelCard
    identity: dict[str, Any] = field(default_factory=dict)
    validation: Validation | None = None
    resume: bool = False
    reporter: Reporter = field(default_factory=Reporter)
    tracking: Tracking | NoTracking = field(default_factory=NoTracking)
    callbacks: Sequence[keras.callbacks.Callback] = ()

    def __post_init__(self) -> None:
        self._watch = Stopwatch.start(self.folder.root, self.resume)

    def measure(self, network: keras.Model) -> dict[str, float]:
        """Return the validation columns of metrics.csv for `network` as it is; none without validation."""
        if self.validation is None:
            return {}
        began = time.monotonic()
        detector = Detector.from_keras(network, self.card, conf=AP_CONFIDENCE, iou=NMS_IOU)
        scores = self.validation.scores(detector)
        self._watch.validated(time.monotonic() - began)
        return scores

    def save_best(self, network: keras.Model, row: dict[str, Any]) -> None:
        """Save `network` as the run's model; `row` is its epoch's line of metrics.csv."""
        self._save(self.folder.model, network, row)

    def save_final(self, network: keras.Model, row: dict[str, Any]) -> None:
        """Save `network` as the model of the last epoch."""
        self._save(self.folder.final, network, row)

    def epoch_done(self, rows: list[dict[str, Any]]) -> None:
        """Write metrics.csv and the epoch's time, and track its figures."""
        self.folder.write_metrics(rows)
        self._watch.epoch_done(len(rows))
        self.tracking.epoch(rows[-1])

    def _save(self, path: Path, network: keras.Model, row: dict[str, Any]) -> None:
        metrics = {key: value for key, value in row.items() if key == "epoch" or key.startswith("val_")}
        save_model(path, network, replace(self.card, metrics=metrics))
