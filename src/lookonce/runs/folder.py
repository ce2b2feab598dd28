"""The folder of a training run."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookonce.darknet.anchors import Anchors
from lookonce.errors import LookonceError
from lookonce.io.atomic import write_text


@dataclass(frozen=True)
class RunFolder:
    """Paths of the run's files; reads and writes the small ones."""

    root: Path

    @property
    def model(self) -> Path:
        """The best epoch's model."""
        return self.root / "model.keras"

    @property
    def weights(self) -> Path:
        """The best epoch's model as a Darknet weights file."""
        return self.root / "model.weights"

    @property
    def cfg(self) -> Path:
        """The Darknet cfg."""
        return self.root / "model.cfg"

    @property
    def recipe(self) -> Path:
        """The recipe with every setting of the training."""
        return self.root / "recipe.toml"

    @property
    def last(self) -> Path:
        """The state that a run is resumed from."""
        return self.root / "last"

    @property
    def final(self) -> Path:
        """The last epoch's model, which is not always the best."""
        return self.last / "model.keras"

    @property
    def metrics(self) -> Path:
        """The figures, one row per epoch."""
        return self.root / "metrics.csv"

    def claim(self, resume: bool) -> None:
        """Create the folder. Raises LookonceError, before any training, if it cannot be used."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LookonceError(
                f"cannot make the folder {self.root}: {error.strerror}. Choose another folder."
            ) from error
        if not os.access(self.root, os.W_OK):
            raise LookonceError(f"the folder {self.root} is not writable. Choose another folder.")
        earlier = [path.name for path in (self.model, self.last / "state.json") if path.exists()]
        if earlier and not resume:
            raise LookonceError(
                f"{self.root} already holds a training run ({', '.join(earlier)}). "
                "Resume it (--resume), or choose another folder (--out); nothing was changed."
            )

    def describe(
        self, cfg: str, anchors: Anchors, classes: Sequence[str], split: Mapping[str, Sequence[str]]
    ) -> None:
        """Write the files that are known before the first epoch."""
        write_text(self.cfg, cfg)
        write_text(self.root / "custom_anchors.txt", anchors.to_text() + "\n")
        write_text(self.root / "custom_classes.txt", "\n".join(classes) + "\n")
        write_text(self.root / "split.json", json.dumps(split, indent=1, ensure_ascii=False) + "\n")

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """metrics.csv, whole, after every epoch. No clock in it: two equal runs leave equal files."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[-1]), restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
            )
        write_text(self.metrics, text.getvalue())

    def read_metrics(self) -> list[dict[str, float]]:
        """Return the rows of metrics.csv as numbers."""
        with self.metrics.open(encoding="utf-8", newline="") as file:
            return [
                {key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)
            ]
