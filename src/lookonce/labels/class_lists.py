"""Class lists: `classes.txt`, VoTT's `pascal_label_map.pbtxt`, CVAT's `labelmap.txt`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from lookonce.labels.records import LabelError


def read_text(path: Path) -> str:
    """Read a text file: UTF-8 with or without byte order mark, or UTF-16 with one; any line endings."""
    try:
        data = path.read_bytes()
        utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        return data.decode("utf-16" if utf16 else "utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror}); check the name") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def read_classes(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read class names, one per line; the position is the class number.

    Raises:
        LabelError: unreadable, empty, a blank line between names, or a duplicate name.
    """
    path = Path(path)
    lines = [line.strip() for line in read_text(path).rstrip().split("\n")]
    if lines == [""]:
        raise LabelError(f"{path}: empty; write one class name per line")
    for number, line in enumerate(lines, start=1):
        if not line:
            raise LabelError(
                f"{path}, line {number}: blank; expected a class name. "
                "Delete the line: it would shift the number of every class after it"
            )
    return _without_repeats(path, lines)


def declared_classes(folders: Sequence[Path]) -> tuple[str, ...] | None:
    """Return the class list of the first folder that has one, or None."""
    readers: dict[str, Callable[[Path], tuple[str, ...]]] = {
        "custom_classes.txt": read_classes,
        "classes.txt": read_classes,
        "pascal_label_map.pbtxt": _read_pbtxt,
        "labelmap.txt": _read_cvat,
    }
    for folder in folders:
        for name, reader in readers.items():
            if (folder / name).is_file():
                return reader(folder / name)
    return None


def _read_pbtxt(path: Path) -> tuple[str, ...]:
    """Read TensorFlow's label map, `item { id: 1 name: 'car' }`, in the order of the ids."""
    text = read_text(path)
    if not text.strip():
        return ()  # VoTT writes an empty file for a project without tags
    items = []
    for item in re.finditer(r"item\s*\{(.*?)\}(?=\s*(?:item|$))", text, re.DOTALL):
        line = text.count("\n", 0, item.start()) + 1
        number = re.search(r"\bid\s*:\s*(\d+)", item[1])
        name = re.search(r"\bname\s*:\s*(?:'(.*)'|\"(.*)\")", item[1])
        if not number or not name:
            raise LabelError(
                f"{path}, line {line}: expected item {{ id: 1 name: 'car' }}; found {item[0][:100]!r}"
            )
        items.append((int(number[1]), (name[1] or name[2] or "").strip()))
    if not items:
        raise LabelError(f"{path}: no item {{ id: 1 name: 'car' }} found; delete the file or export again")
    return _without_repeats(path, [name for _, name in sorted(items)])


def _read_cvat(path: Path) -> tuple[str, ...]:
    """Read CVAT's `label:color_rgb:parts:actions` lines; "background" is not a class."""
    lines = [line.split(":")[0].strip() for line in read_text(path).split("\n") if not line.startswith("#")]
    return _without_repeats(path, [name for name in lines if name and name != "background"])


def _without_repeats(path: Path, names: list[str]) -> tuple[str, ...]:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise LabelError(
                f"{path}: class {name!r} appears twice (numbers {names.index(name) + 1} and {index + 1}); "
                "delete one of the two"
            )
    return tuple(names)
