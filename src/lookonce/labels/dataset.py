"""Datasets: folders of labelled images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lookonce.labels.class_lists import declared_classes
from lookonce.labels.discovery import Item, Layout, find_layout, list_items
from lookonce.labels.formats.voc import read_annotation
from lookonce.labels.records import LabelError, Record
from lookonce.labels.splits import choose, read_splits

FORMATS = ("voc", "vott-voc")
_VOTT_FOLDER = "-PascalVOC-export"


@dataclass(frozen=True)
class Dataset:
    """Labelled images by index, sorted by name; label files are parsed on access.

    Example:
        >>> from lookonce.labels.demo_set import make_demo_set
        >>> dataset = Dataset.open(make_demo_set("data", images=5, seed=0))
        >>> len(dataset), dataset.format, dataset.class_names
        (5, 'vott-voc', ('bolt', 'nut', 'washer'))
        >>> dataset[0].name, dataset[0].boxes.shape
        ('parts_001.jpg', (3, 4))
        >>> {name: len(indices) for name, indices in dataset.splits.items()}
        {'train': 4, 'val': 1}
    """

    layout: Layout
    format: str
    items: tuple[Item, ...]
    class_names: tuple[str, ...] | None

    @classmethod
    def open(cls, path: str | os.PathLike[str], format: str | None = None) -> Dataset:
        """List a dataset without opening its label files or images.

        Args:
            path: the folder, or one that holds the export as its only dataset.
            format: "voc" or "vott-voc"; None detects it from the content.

        Raises:
            LabelError: no known layout there, or an invalid class list.
        """
        path = Path(path)
        if format is not None and format not in FORMATS:
            raise LabelError(
                f"{path}: format {format!r} is not supported; expected one of {', '.join(FORMATS)}"
            )
        layout = find_layout(path)
        root = layout.root
        vott = (root / "pascal_label_map.pbtxt").is_file() or root.resolve().name.endswith(_VOTT_FOLDER)
        classes = declared_classes(list(dict.fromkeys([root, path]))) or None
        return cls(layout, format or ("vott-voc" if vott else "voc"), tuple(list_items(layout)), classes)

    @property
    def root(self) -> Path:
        """The folder that holds the annotations and images."""
        return self.layout.root

    @property
    def name(self) -> str:
        """The folder's name, or the project's for a VoTT export."""
        return self.root.resolve().name.removesuffix(_VOTT_FOLDER) or "dataset"

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Record:
        """Parse and return one record. Raises LabelError for an invalid label file."""
        item = self.items[index]
        if item.annotation is None:
            none = np.zeros((0, 4), np.float32)
            return Record(item.image.name, item.image, None, None, none, (), np.zeros(0, np.bool_))
        annotation = read_annotation(item.annotation)
        return Record(
            name=item.image.name,
            image=item.image,
            annotation=item.annotation,
            size=annotation.size,
            boxes=annotation.boxes,
            labels=annotation.labels,
            difficult=annotation.difficult,
        )

    @cached_property
    def _lists(self) -> tuple[dict[str, list[int]], list[tuple[str, str]]]:
        return read_splits(self.root / "ImageSets" / "Main", self.items)

    @property
    def splits(self) -> dict[str, list[int]]:
        """Indices by split name, from the dataset's own lists; empty without lists."""
        return self._lists[0]

    @property
    def unknown_names(self) -> list[tuple[str, str]]:
        """(list file, line) of each line in the dataset's lists that matches no image."""
        return self._lists[1]

    def split(self, name: str, seed: int = 0) -> list[int]:
        """Return the sorted indices of one split; without lists, train and val are a seeded 80/20 draw.

        Raises:
            LabelError: no such split.
        """
        try:
            return choose(self.splits, len(self), name, seed)
        except LabelError as error:
            raise LabelError(f"{self.root}: {error}") from error

    def discover_classes(self) -> tuple[str, ...]:
        """Return the sorted names of all labelled classes; parses every label file."""
        return tuple(sorted({label for record in self for label in record.labels}))
