"""Labelled images, as read from label files and after checks; findings of the checks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import Geometry
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from lookonce.labels.dataset import Dataset

Outcome = Literal["repaired", "dropped", "fatal", "note"]


class LabelError(LookonceError):
    """Invalid label file, class list or dataset folder; the message names file, line or object, and fix."""


@dataclass(frozen=True)
class Record:
    """An image and its boxes, unchecked, exactly as in the label file.

    Args:
        name: the image's file name.
        image: path of the image, which may be missing.
        annotation: the label file, or None.
        size: (width, height) in pixels from the label file, or None.
        boxes: float32 (n, 4), xyxy in original pixels.
        labels: n class names.
        difficult: bool (n,), Pascal VOC's "difficult" flag.
    """

    name: str
    image: Path
    annotation: Path | None
    size: tuple[int, int] | None
    boxes: NDArray[np.float32]
    labels: tuple[str, ...]
    difficult: NDArray[np.bool_]


@dataclass(frozen=True)
class Finding:
    """One defect, or one fact worth knowing.

    Args:
        file: path relative to the dataset's folder.
        object: which object or line of the file; "" for the whole file.
        what: the defect.
        fix: what the user can do about it.
        outcome: "repaired" and "dropped" happen in memory only, never on disk; "fatal" must be fixed by the
            user; "note" changes nothing.
    """

    file: str
    object: str
    what: str
    fix: str
    outcome: Outcome


@dataclass(frozen=True)
class CheckedRecord:
    """A clean image for training or evaluation.

    Args:
        name: the image's file name.
        image: its path.
        size: true (width, height) after the EXIF orientation.
        boxes: float32 (n, 4), xyxy in pixels of the upright image, within it, with positive areas.
        classes: int64 (n,), index into `CheckedDataset.class_names`.
        difficult: bool (n,).
    """

    name: str
    image: Path
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    difficult: NDArray[np.bool_]


@dataclass(frozen=True)
class CheckedDataset:
    """Clean records of a dataset, aligned with its indices, and the findings.

    Indices in `dropped` have no usable image or labels; their record is a placeholder without boxes.
    `unknown_classes` counts the boxes of each class that is labelled but not in `class_names`.
    """

    dataset: Dataset
    class_names: tuple[str, ...]
    records: list[CheckedRecord]
    findings: list[Finding]
    dropped: set[int] = field(default_factory=set)
    unknown_classes: dict[str, int] = field(default_factory=dict)

    def indices(self, split_indices: Sequence[int]) -> list[int]:
        """Return the indices without the dropped ones."""
        return [index for index in split_indices if index not in self.dropped]

    def box_sizes(
        self, indices: Sequence[int], input_size: tuple[int, int], resize: str
    ) -> NDArray[np.float32]:
        """Return widths and heights (n, 2) of the boxes of `indices`, in pixels of the network's input."""
        sizes = [np.zeros((0, 2), np.float32)]
        for index in indices:
            record = self.records[index]
            boxes = Geometry.fit(*record.size, input_size, resize).to_input(record.boxes)
            sizes.append(boxes[:, 2:] - boxes[:, :2])
        return np.concatenate(sizes)

    def digest(self, indices: Sequence[int]) -> str:
        """Return the SHA-256 of names, boxes and classes: equal for runs that saw the same labels."""
        state = hashlib.sha256("\n".join(self.class_names).encode())
        for index in indices:
            record = self.records[index]
            state.update(record.name.encode())
            state.update(record.boxes.tobytes() + record.classes.tobytes())
        return state.hexdigest()
