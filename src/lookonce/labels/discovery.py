"""Locating a dataset in a folder, and matching annotations with images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lookonce.errors import listing
from lookonce.io.images import SUFFIXES
from lookonce.labels.formats.voc import decoded, read_annotation
from lookonce.labels.records import LabelError

KNOWN_LAYOUTS = (
    "Annotations/*.xml with JPEGImages/ or images/ (Pascal VOC, VoTT's and Label Studio's VOC exports), "
    "or *.xml beside the images"
)
_IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "")


@dataclass(frozen=True)
class Item:
    """One image of the dataset; `annotation` is None where it has no label file."""

    image: Path
    annotation: Path | None


@dataclass(frozen=True)
class Layout:
    """A Pascal VOC-like folder: paths of the export, its label files and its images."""

    root: Path
    annotations: Path
    images: Path


def find_layout(path: Path) -> Layout:
    """Find the export in `path`, or in the only subfolder (at most two levels down) that holds one.

    Raises:
        LabelError: no such folder, no known layout, or several exports.
    """
    if not path.is_dir():
        problem = "is a file" if path.exists() else "does not exist"
        raise LabelError(f"{path}: {problem}; expected a dataset folder with {KNOWN_LAYOUTS}")
    level = [path]
    for _ in range(3):
        found = [layout for folder in level if (layout := _layout(folder))]
        if len(found) == 1:
            return found[0]
        if found:
            names = listing(layout.root for layout in found)
            raise LabelError(f"{path}: contains {len(found)} datasets; choose one: {names}")
        level = sorted(child for folder in level for child in folder.iterdir() if child.is_dir())[:1000]
    entries = sorted(child.name + "/" * child.is_dir() for child in path.iterdir())
    shown = listing(entries, 8) if entries else "an empty folder"
    raise LabelError(f"{path}: no labels found. Expected {KNOWN_LAYOUTS}. Found {shown}")


def _layout(folder: Path) -> Layout | None:
    """Return the layout of an Annotations folder beside an image folder, or of label files beside images."""
    flat = [folder] if folder.name.lower() != "annotations" else []
    for labels in [folder / "Annotations", folder / "annotations", *flat]:
        if labels.is_dir():
            with os.scandir(labels) as entries:
                if any(entry.name.lower().endswith(".xml") for entry in entries):
                    images = next(folder / name for name in _IMAGE_FOLDERS if (folder / name).is_dir())
                    return Layout(folder, labels, images)
    return None


def keys(name: str) -> tuple[str, str]:
    """Return the two keys of a file name: unchanged, and decoded without folders.

    Both drop the suffix of an image or .xml: `data%2Fcar%201.jpg` -> (`data%2Fcar%201`, `car 1`).
    """
    return _bare(name), _bare(decoded(name).rsplit("/", 1)[-1])


def _bare(name: str) -> str:
    stem, ending = os.path.splitext(name)  # "x.mp4#t=0.2" must keep its ".2"
    return stem if ending.lower() in (*SUFFIXES, ".xml") else name


def list_items(layout: Layout) -> list[Item]:
    """List every image and annotation, matched by name and sorted, without opening files.

    Only annotations that match no image by name are opened, for their <filename>, if images are left over.
    """
    labels = sorted(name for name in os.listdir(layout.annotations) if name.lower().endswith(".xml"))
    images = sorted(name for name in os.listdir(layout.images) if name.lower().endswith(SUFFIXES))
    exact: dict[str, list[str]] = {}
    loose: dict[str, list[str]] = {}
    for name in images:
        unchanged, bare = keys(name)
        exact.setdefault(unchanged, []).append(name)
        loose.setdefault(bare, []).append(name)
    matched: dict[str, str] = {}
    free = set(images)
    for label in labels:
        same = exact.get(keys(label)[0], [])
        if len(same) == 1:
            matched[label] = same[0]
            free.discard(same[0])
    for label in (label for label in labels if label not in matched):
        same = [name for name in loose.get(keys(label)[1], []) if name in free]
        if len(same) == 1:
            matched[label] = same[0]
            free.discard(same[0])
    for label in (label for label in labels if label not in matched) if free else ():
        named = _named_image(layout.annotations / label, free, loose)
        if named:
            matched[label] = named
            free.discard(named)
    items = [
        Item(layout.images / matched.get(label, _bare(label) + ".jpg"), layout.annotations / label)
        for label in labels
    ]
    items += [Item(layout.images / name, None) for name in free]
    return sorted(items, key=lambda item: (item.image.name, str(item.annotation)))


def _named_image(annotation: Path, free: set[str], loose: dict[str, list[str]]) -> str | None:
    try:
        filename = read_annotation(annotation).filename
    except LabelError:
        return None  # reported when this record is read
    if filename in free:
        return filename
    same = [name for name in loose.get(keys(filename)[1], []) if name in free]
    return same[0] if len(same) == 1 else None
