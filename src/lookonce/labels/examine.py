"""Checks of one image and its label file, independent of the others."""

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
    """Result for one image: true (width, height), clean boxes with labels, and findings."""

    root: Path
    record: Record
    size: tuple[int, int] = (1, 1)
    boxes: Boxes = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    labels: list[str] = field(default_factory=list)
    difficult: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    dropped: bool = False
    findings: list[Finding] = field(default_factory=list)

    def add_finding(self, path: Path | None, what: str, fix: str, outcome: Outcome, object: str = "") -> None:
        """Add a finding about one of the record's files."""
        file = os.path.relpath(path or self.record.image, self.root)
        self.findings.append(Finding(file, object, what, fix, outcome))


def examine(dataset: Dataset, index: int, full: bool) -> Examined:
    """Check one record; `full` decodes the image, otherwise only its header and end marker are read."""
    item = dataset.items[index]
    none = np.zeros((0, 4), np.float32)
    placeholder = Record(item.image.name, item.image, item.annotation, None, none, (), np.zeros(0, np.bool_))
    try:
        record = dataset[index]
    except LabelError as error:
        result = Examined(dataset.root, placeholder, dropped=True)
        result.add_finding(
            item.annotation, str(error).removeprefix(str(item.annotation)).lstrip(":, "), "", "fatal"
        )
        return result
    result = Examined(dataset.root, record, size=record.size or (1, 1))
    if not _image(result, full):
        result.dropped = True
    elif record.annotation is None:
        fix = "label it; for a background image add a label file without objects"
        result.add_finding(None, "has no label file", fix, "dropped")
        result.dropped = True
    else:
        _boxes(result)
    return result


def _image(result: Examined, full: bool) -> bool:
    """Find the image's true size; return False if it cannot be used."""
    image, annotation = result.record.image, result.record.annotation
    if not image.is_file():
        result.add_finding(
            annotation,
            f"the image is missing: {image.name}",
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
        result.add_finding(image, what, "replace the image or delete it and its label file", "dropped")
        return False
    result.size = stored[::-1] if orientation >= 5 else stored
    if image.suffix.lower() not in _ENDINGS.get(format, (image.suffix.lower(),)):
        what = f"holds {format} data but is named {image.suffix}"
        result.add_finding(image, what, "no action needed here; other programs may need it renamed", "note")
    _compare_sizes(result, stored, orientation)
    return True


def _compare_sizes(result: Examined, stored: tuple[int, int], orientation: int) -> None:
    labelled, true, annotation = result.record.size, result.size, result.record.annotation
    result.boxes = result.record.boxes
    if orientation != 1 and labelled == stored != true:
        result.boxes = rotate_boxes(result.boxes, stored, orientation)
        what = (
            f"width and height swapped by EXIF: labelled as stored, {labelled[0]} x {labelled[1]}, but shown "
            f"rotated (orientation {orientation}), {true[0]} x {true[1]}; its boxes were rotated with it"
        )
        result.add_finding(
            annotation, what, "check the boxes; save the image upright and label that", "repaired"
        )
        return
    if orientation != 1:
        what = f"EXIF orientation {orientation}: rotated upright; the labels are assumed to match"
        result.add_finding(
            None, what, "check its boxes: a tool that ignores EXIF would have drawn them elsewhere", "note"
        )
    if labelled is not None and labelled != true:
        what = (
            f"<size> says {labelled[0]} x {labelled[1]}, the image has {true[0]} x {true[1]}; "
            "the true size is used"
        )
        fix = "correct <size>; if the image was resized after labelling, its boxes are wrong: label it again"
        result.add_finding(annotation, what, fix, "repaired")


def rotate_boxes(boxes: Boxes, stored: tuple[int, int], orientation: int) -> Boxes:
    """Convert xyxy boxes (n, 4) from a stored (width, height) image to the upright image."""
    width, height = stored
    x1, y1, x2, y2 = np.asarray(boxes, np.float32).reshape(-1, 4).T
    if orientation in (5, 6, 7, 8):
        x1, y1, x2, y2, width, height = y1, x1, y2, x2, height, width
    if orientation in (2, 3, 6, 7):
        x1, x2 = width - x2, width - x1
    if orientation in (3, 4, 7, 8):
        y1, y2 = height - y2, height - y1
    return np.stack([x1, y1, x2, y2], axis=1)


def _boxes(result: Examined) -> None:
    """Swap, clip and drop until every box lies in the image, has an area and is unique."""
    record, (width, height) = result.record, result.size
    kept: list[int] = []
    clean = clip_boxes(result.boxes, width, height)
    first_index: dict[tuple[str, bytes], int] = {}
    for index, (box, label) in enumerate(zip(result.boxes, record.labels, strict=True)):
        name = f"{label} (object {index + 1})"
        corners = " ".join(f"{value:g}" for value in box)
        low, high = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
        if (low == high).any():
            what, fix = f"no area: box {corners}", "draw it again or delete the object"
            result.add_finding(record.annotation, what, fix, "dropped", name)
            continue
        if (box[:2] > box[2:]).any():
            what, fix = (
                f"corners in the wrong order: box {corners}; swapped",
                "write the smaller value as min",
            )
            result.add_finding(record.annotation, what, fix, "repaired", name)
        straight = np.concatenate([low, high])
        clean[index] = clip_boxes(straight, width, height)
        if (clean[index, :2] >= clean[index, 2:]).any():
            what, fix = (
                f"entirely outside {width} x {height}: box {corners}",
                "draw it again or delete the object",
            )
            result.add_finding(record.annotation, what, fix, "dropped", name)
            continue
        if np.abs(clean[index] - straight).max() > _TOLERANCE_PX:
            what, fix = (
                f"extends outside {width} x {height}: box {corners}; clipped",
                "draw it inside the image",
            )
            result.add_finding(record.annotation, what, fix, "repaired", name)
        twin = first_index.setdefault((label, clean[index].tobytes()), index)
        if twin != index:
            what = f"the same box and class as object {twin + 1}: box {corners}"
            result.add_finding(record.annotation, what, "delete one of them", "dropped", name)
            continue
        kept.append(index)
    result.boxes = clean[kept].reshape(-1, 4)
    result.labels = [record.labels[index] for index in kept]
    result.difficult = record.difficult[kept]
    if not record.labels:
        result.add_finding(
            record.annotation, "no boxes: used as background", "label it if objects are in it", "note"
        )
