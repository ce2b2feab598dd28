"""Training, validation and test splits: the dataset's own lists, else a seeded draw."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

from lookonce.labels.class_lists import read_text
from lookonce.labels.discovery import Item, keys
from lookonce.labels.records import LabelError

NAMES = ("train", "val", "trainval", "test")
VALIDATION_SHARE = 0.2
_FLAG = re.compile(r"\s+(-1|0|1)$")


def read_splits(folder: Path, items: Sequence[Item]) -> tuple[dict[str, list[int]], list[tuple[str, str]]]:
    """Read `ImageSets/Main`: plain lists (`train.txt`), else one list per class (`car_train.txt`).

    A class list flags each image by whether it shows the class (1, 0, -1); the image belongs to the split
    in any case, so the class lists are merged. An image in both `car_train` and `dog_val` is used for
    validation only. Class lists take precedence over a plain `train.txt` alone, which would leave no
    validation images.

    Returns:
        Sorted indices into `items` by split, and (file, entry) of each line that matches no image.
    """
    files = {path.stem: path for path in sorted(folder.glob("*.txt"))} if folder.is_dir() else {}
    plain = {name: [files[name]] for name in NAMES if name in files}
    tagged = {name: [files[stem] for stem in files if stem.endswith(f"_{name}")] for name in NAMES}
    tagged = {name: lists for name, lists in tagged.items() if lists}
    by_class = not plain or ({"train", "val"} <= set(tagged) and set(plain) <= {"train"})
    lookup = _Lookup(items)
    unknown: list[tuple[str, str]] = []
    splits: dict[str, list[int]] = {}
    for name, lists in (tagged if by_class else plain).items():
        found: set[int] = set()
        for path in lists:
            for line in read_text(path).split("\n"):
                if entry := line.strip():
                    index = lookup.find(entry, by_class)
                    if index is None:
                        unknown.append((str(path), entry))
                    else:
                        found.add(index)
        splits[name] = sorted(found)
    if by_class and "train" in splits:
        held_out = {*splits.get("val", ()), *splits.get("test", ())}
        splits["train"] = [index for index in splits["train"] if index not in held_out]
    return {name: indices for name, indices in splits.items() if indices}, unknown


def choose(splits: dict[str, list[int]], count: int, name: str, seed: int) -> list[int]:
    """Return the indices of one split of `count` images, from the lists or drawn by `seed`.

    Without a `val` list, a fifth of the training images is drawn for it, so train and val are disjoint.
    """
    if name in splits and not (name == "train" and "val" not in splits):
        return list(splits[name])
    if name == "trainval":
        return sorted({*choose(splits, count, "train", seed), *choose(splits, count, "val", seed)})
    if name not in ("train", "val"):
        available = ", ".join(dict.fromkeys([*splits, "train", "val", "trainval"]))
        raise LabelError(
            f"the dataset has no split {name!r}; it has {available}. Add ImageSets/Main/{name}.txt"
        )
    held_out = {*splits.get("test", ()), *splits.get("val", ())}
    listed = splits.get("train") or splits.get("trainval") or range(count)
    pool = [index for index in listed if index not in held_out]
    if "val" in splits:
        return pool
    drawn = min(len(pool) - 1, max(1, round(len(pool) * VALIDATION_SHARE))) if pool else 0
    validation = set(random.Random(seed).sample(pool, drawn))
    return [index for index in pool if (index in validation) == (name == "val")]


class _Lookup:
    """Finds an image by file name, by name without suffix, or percent-decoded, in this order."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._forms: tuple[dict[str, set[int]], ...] = ({}, {}, {})
        for index, item in enumerate(items):
            for path in (item.image, item.annotation):
                if path is not None:
                    for form, key in zip(self._forms, (path.name, *keys(path.name)), strict=True):
                        form.setdefault(key, set()).add(index)

    def find(self, entry: str, flagged: bool) -> int | None:
        """Return the one image that a line names, with or without a flag; None for none or several."""
        without = _FLAG.sub("", entry)
        for text in (without, entry) if flagged else (entry, without):
            for form, key in zip(self._forms, (text, *keys(text)), strict=True):
                if len(indices := form.get(key, set())) == 1:
                    return next(iter(indices))
        return None
