"""Detections of one image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lookonce.errors import LookonceError, listing

# Corner names of the Azure AutoML-for-images form.
_CORNERS = ("topX", "topY", "bottomX", "bottomY")

Rows = int | np.integer[Any] | slice | Sequence[int] | Sequence[bool] | NDArray[Any]


class Detection(NamedTuple):
    """One detected object: `box` (4,) float32 xyxy in original pixels, score 0..1, class number and name."""

    box: NDArray[np.float32]
    score: float
    class_id: int
    name: str


@dataclass(frozen=True)
class Detections:
    """Objects detected in one image, best score first.

    Args:
        boxes: float32 (n, 4), xyxy in original pixels.
        scores: float32 (n,), 0..1.
        classes: int64 (n,), indices into `names`.
        names: class names of the model.
        image_size: (width, height) in pixels.

    Raises:
        ValueError: shapes or types do not fit, or a class has no name.

    Example:
        >>> found = Detections(
        ...     boxes=[[0, 0, 10, 10], [20, 10, 40, 40]],
        ...     scores=[0.9, 0.5],
        ...     classes=[0, 1],
        ...     names=["car", "dog"],
        ...     image_size=(64, 48),
        ... )
        >>> len(found), [one.name for one in found]
        (2, ['car', 'dog'])
        >>> found[found.scores > 0.6].boxes.tolist()
        [[0.0, 0.0, 10.0, 10.0]]
        >>> found.filter(classes="dog", min_area=100)[0].scores.tolist()
        [0.5]
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        scores = np.asarray(self.scores, np.float32)
        if scores.ndim != 1:
            raise ValueError(f"scores have shape {scores.shape}; expected (n,)")
        boxes, classes = np.asarray(self.boxes, np.float32), np.asarray(self.classes)
        if boxes.size == 0:
            boxes = boxes.reshape(-1, 4)
        if boxes.shape != (len(scores), 4):
            raise ValueError(
                f"boxes have shape {boxes.shape}; expected ({len(scores)}, 4), one row per score"
            )
        if classes.shape != scores.shape or (classes.size and classes.dtype.kind not in "iu"):
            raise ValueError(
                f"classes are {classes.dtype} of shape {classes.shape}; expected integers ({len(scores)},)"
            )
        if classes.size and not 0 <= classes.min() <= classes.max() < len(self.names):
            wrong = classes.min() if classes.min() < 0 else classes.max()
            raise ValueError(f"class {wrong} has no name; there are {len(self.names)} names")
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise ValueError(f"image_size is {self.image_size}; expected (width, height) in pixels")
        values = {"boxes": boxes, "scores": scores, "classes": classes.astype(np.int64, copy=False)}
        for name, value in {**values, "names": tuple(self.names)}.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: Rows) -> Detections:
        """Return the detections of `rows`: an index, a slice, a boolean mask or indices."""
        if isinstance(rows, int | np.integer):
            rows = np.arange(len(self))[rows][None]
        elif not isinstance(rows, slice):
            rows = np.asarray(rows) if len(rows) else np.zeros(0, np.int64)
        return replace(self, boxes=self.boxes[rows], scores=self.scores[rows], classes=self.classes[rows])

    def __iter__(self) -> Iterator[Detection]:
        for box, score, label in zip(self.boxes, self.scores, self.classes, strict=True):
            yield Detection(box, float(score), int(label), self.names[label])

    def best(self, most: int) -> Detections:
        """Return the `most` detections with the highest scores."""
        return self if len(self) <= most else self[:most]

    def filter(
        self,
        classes: str | int | Iterable[str | int] | None = None,
        min_score: float | None = None,
        min_area: float | None = None,
    ) -> Detections:
        """Return the detections that pass all conditions.

        Args:
            classes: names or numbers of the classes to keep; None keeps all.
            min_score: lowest score.
            min_area: smallest area in pixels.

        Raises:
            LookonceError: a class that `names` does not have.
        """
        kept = np.ones(len(self), bool)
        if classes is not None:
            chosen = [classes] if isinstance(classes, str | int) else list(classes)
            kept &= np.isin(self.classes, [self._number(one) for one in chosen])
        if min_score is not None:
            kept &= self.scores >= min_score
        if min_area is not None:
            kept &= np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1) >= min_area
        return self[kept]

    def _number(self, label: str | int) -> int:
        if isinstance(label, str) and label in self.names:
            return self.names.index(label)
        if not isinstance(label, str) and 0 <= label < len(self.names):
            return int(label)
        raise LookonceError(f"no class {label!r}; the classes are {listing(self.names)}")

    def to_dict(self, filename: str = "") -> dict[str, Any]:
        """Return the detections in the Azure AutoML-for-images form, corners as fractions of the image."""
        width, height = self.image_size
        fractions = self.boxes / np.asarray([width, height, width, height], np.float32)
        return {
            "filename": filename,
            "width": width,
            "height": height,
            "boxes": [
                {
                    "label": self.names[label],
                    "score": round(float(score), 6),
                    "box": dict(zip(_CORNERS, [round(float(value), 6) for value in box], strict=True)),
                }
                for box, score, label in zip(fractions, self.scores, self.classes, strict=True)
            ],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], names: Sequence[str] = ()) -> Detections:
        """Rebuild detections from `to_dict`, or from a response of the service; boxes are clipped.

        Args:
            document: a dict with `width`, `height` and `boxes`.
            names: class names of the model in order; labels that are not among them are appended.

        Raises:
            LookonceError: the document has another form.

        >>> document = {"width": 100, "height": 50, "boxes": [
        ...     {"label": "car", "score": 0.9, "box": {"topX": 0, "topY": 0, "bottomX": 0.5, "bottomY": 1}}]}
        >>> Detections.from_dict(document).boxes.tolist()
        [[0.0, 0.0, 50.0, 50.0]]
        """
        try:
            size = (int(document["width"]), int(document["height"]))
            labels = [str(one["label"]) for one in document["boxes"]]
            corners = [[float(one["box"][corner]) for corner in _CORNERS] for one in document["boxes"]]
            all_names = tuple(dict.fromkeys([*names, *labels]))
            fractions = np.clip(np.asarray(corners, np.float64).reshape(-1, 4), 0, 1)
            return cls(
                (fractions * np.asarray(size * 2)).astype(np.float32),
                np.asarray([float(one["score"]) for one in document["boxes"]], np.float32),
                np.asarray([all_names.index(label) for label in labels], np.int64),
                all_names,
                size,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LookonceError(
                f"not a detection result ({type(error).__name__}: {error}); expected width, height and "
                "boxes, each with label, score and box"
            ) from error

    def to_supervision(self) -> Any:
        """Return a `supervision.Detections`, with class names in its data.

        Raises:
            LookonceError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise LookonceError("supervision is not installed: pip install 'lookonce[video]'") from error
        return supervision.Detections(
            xyxy=self.boxes,
            confidence=self.scores,
            class_id=self.classes,
            data={"class_name": np.asarray([self.names[label] for label in self.classes], np.str_)},
        )
