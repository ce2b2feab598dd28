"""The checks that one image and its label file allow without knowing the others."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import clip_boxes
from lookonce.io.images import ImageError, image_header, looks_complete, read_image
from lookonce.labels.dataset import Dataset
from lookonce.labels.records import Finding, LabelError, Outcome, Record

Boxes = NDArray[np.float32]

_ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "PPM": (".ppm", ".pgm"),
}
# Labelling tools write 416.00000000000006 for 416.
_TOLERANCE_PX = 0.01


@dataclass
class Examined:
    """One image's true (width, height), clean boxes with their labels, and what was found on the way."""

    root: Path
    record: Record
    size: tuple[int, int] = (1, 1)
    boxes: Boxes = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    labels: list[str] = field(default_factory=list)
    difficult: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    dropped: bool = False
    findings: list[Finding] = field(default_factory=list)

    def tell(self, path: Path | None, what: str, fix: str, outcome: Outcome, object: str = "") -> None:
        """Add a finding about one of the record's files."""
        file = os.path.relpath(path or self.record.image, self.root)
        self.findings.append(Finding(file, object, what, fix, outcome))


def examine(dataset: Dataset, index: int, full: bool) -> Examined:
    """Check one record; `full` decodes the image, otherwise its header and end are looked at."""
    item = dataset.items[index]
    none = np.zeros((0, 4), np.float32)
    placeholder = Record(item.image.name, item.image, item.annotation, None, none, (), np.zeros(0, np.bool_))
    try:
        record = dataset[index]
    except LabelError as error:
        seen = Examined(dataset.root, placeholder, dropped=True)
        seen.tell(item.annotation, str(error).removeprefix(str(item.annotation)).lstrip(":, "), "", "fatal")
        return seen
    seen = Examined(dataset.root, record, size=record.size or (1, 1))
    if not _image(seen, full):
        seen.dropped = True
    elif record.annotation is None:
        fix = "label it; for a background image add a label file without objects"
        seen.tell(None, "has no label file", fix, "dropped")
        seen.dropped = True
    else:
        _boxes(seen)
    return seen


def _image(seen: Examined, full: bool) -> bool:
    """Find the true size; False if the image cannot be used."""
    image, annotation = seen.record.image, seen.record.annotation
    if not image.is_file():
        seen.tell(
            annotation,
            f"its image is missing: {image.name}",
            "copy it there or delete the label file",
            "dropped",
        )
        return False
    try:
        stored, orientation, format = image_header(image)
        if full or not looks_complete(image):
            read_image(image)
    except ImageError as error:
        what = str(error).removeprefix(str(image)).lstrip(":, ")
        seen.tell(image, what, "replace the image or delete it and its label file", "dropped")
        return False
    seen.size = stored[::-1] if orientation >= 5 else stored
    if image.suffix.lower() not in _ENDINGS.get(format, (image.suffix.lower(),)):
        what = f"holds {format} data under the ending {image.suffix}"
        seen.tell(image, what, "nothing to do here; other programs may want it renamed", "note")
    _compare_sizes(seen, stored, orientation)
    return True


def _compare_sizes(seen: Examined, stored: tuple[int, int], orientation: int) -> None:
    told, true, annotation = seen.record.size, seen.size, seen.record.annotation
    seen.boxes = seen.record.boxes
    if orientation != 1 and told == stored != true:
        seen.boxes = turn_boxes(seen.boxes, stored, orientation)
        what = (
            f"width and height swapped by EXIF: labelled as stored, {told[0]} x {told[1]}, but shown turned "
            f"(orientation {orientation}), {true[0]} x {true[1]}; its boxes were turned with it"
        )
        seen.tell(annotation, what, "look at the boxes; save the image upright and label it so", "repaired")
        return
    if orientation != 1:
        what = f"EXIF orientation {orientation}: turned upright, and the labels are taken to mean that"
        seen.tell(
            None, what, "look at its boxes: a tool that ignores EXIF would have drawn them elsewhere", "note"
        )
    if told is not None and told != true:
        what = (
            f"<size> says {told[0]} x {told[1]}, the image has {true[0]} x {true[1]}; the true size is used"
        )
        fix = "correct <size>; if the image was resized after labelling, its boxes are wrong: label it again"
        seen.tell(annotation, what, fix, "repaired")


def turn_boxes(boxes: Boxes, stored: tuple[int, int], orientation: int) -> Boxes:
    """Boxes (n, 4) xyxy on a stored (width, height) image -> on the image turned upright."""
    width, height = stored
    x1, y1, x2, y2 = np.asarray(boxes, np.float32).reshape(-1, 4).T
    if orientation in (5, 6, 7, 8):
        x1, y1, x2, y2, width, height = y1, x1, y2, x2, height, width
    if orientation in (2, 3, 6, 7):
        x1, x2 = width - x2, width - x1
    if orientation in (3, 4, 7, 8):
        y1, y2 = height - y2, height - y1
    return np.stack([x1, y1, x2, y2], axis=1)


def _boxes(seen: Examined) -> None:
    """Swap, clip and drop until every box lies in the image, has an area and is there once."""
    record, (width, height) = seen.record, seen.size
    kept: list[int] = []
    clean = clip_boxes(seen.boxes, width, height)
    first_seen: dict[tuple[str, bytes], int] = {}
    for index, (box, label) in enumerate(zip(seen.boxes, record.labels, strict=True)):
        name = f"{label} (object {index + 1})"
        corners = " ".join(f"{value:g}" for value in box)
        low, high = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
        if (low == high).any():
            what, fix = f"no area: box {corners}", "draw it again or delete the object"
            seen.tell(record.annotation, what, fix, "dropped", name)
            continue
        if (box[:2] > box[2:]).any():
            what, fix = (
                f"corners in the wrong order: box {corners}; swapped",
                "write the smaller value as min",
            )
            seen.tell(record.annotation, what, fix, "repaired", name)
        straight = np.concatenate([low, high])
        clean[index] = clip_boxes(straight, width, height)
        if (clean[index, :2] >= clean[index, 2:]).any():
            what, fix = (
                f"wholly outside {width} x {height}: box {corners}",
                "draw it again or delete the object",
            )
            seen.tell(record.annotation, what, fix, "dropped", name)
            continue
        if np.abs(clean[index] - straight).max() > _TOLERANCE_PX:
            what, fix = (
                f"reaches outside {width} x {height}: box {corners}; clipped",
                "draw it inside the image",
            )
            seen.tell(record.annotation, what, fix, "repaired", name)
        twin = first_seen.setdefault((label, clean[index].tobytes()), index)
        if twin != index:
            what = f"the same box and class as object {twin + 1}: box {corners}"
            seen.tell(record.annotation, what, "delete one of the two", "dropped", name)
            continue
        kept.append(index)
    seen.boxes = clean[kept].reshape(-1, 4)
    seen.labels = [record.labels[index] for index in kept]
    seen.difficult = record.difficult[kept]
    if not record.labels:
        seen.tell(record.annotation, "no boxes: used as background", "label it if objects are in it", "note")
