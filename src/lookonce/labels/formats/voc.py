"""Pascal VOC annotation files, as written by VOC, VoTT, LabelImg, Label Studio and CVAT."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from lookonce.labels.records import LabelError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Annotation:
    """Content of one file: boxes float32 (n, 4) xyxy in pixels, difficult bool (n,)."""

    filename: str
    size: tuple[int, int] | None
    boxes: NDArray[np.float32]
    labels: tuple[str, ...]
    difficult: NDArray[np.bool_]


def read_annotation(path: Path) -> Annotation:
    """Parse one file. `<path>` is ignored: it is a path on the labeller's computer.

    Raises:
        LabelError: not XML, XML entities, no <annotation>, an object without name or with a box that is not
            four finite numbers, a <filename> outside the dataset.
    """
    root = _root(path)
    filename = (root.findtext("filename") or "").strip()
    if ".." in decoded(filename).split("/"):
        raise LabelError(
            f"{path}: <filename> {filename!r} is outside the dataset's folder; write the file name only"
        )
    boxes, labels, difficult = [], [], []
    for number, item in enumerate(root.findall("object"), start=1):
        label = (item.findtext("name") or "").strip()
        if not label:
            raise LabelError(f"{path}, object {number}: no <name>; add its class or delete the object")
        boxes.append(_box(item, f"{path}, object {number} ({label})"))
        labels.append(label)
        difficult.append((item.findtext("difficult") or "0").strip().lower() in ("1", "true"))
    return Annotation(
        filename=filename,
        size=_size(root),
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        labels=tuple(labels),
        difficult=np.asarray(difficult, np.bool_),
    )


def decoded(name: str) -> str:
    """Decode a file name from a URL: percent-decoded twice, as VoTT may encode twice, with / only."""
    return (unquote(unquote(name)) if "%" in name else name).replace("\\", "/")


def _root(path: Path) -> Element:
    try:
        root: Element = fromstring(path.read_bytes(), forbid_dtd=False)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    except DefusedXmlException as error:
        raise LabelError(
            f"{path}: declares XML entities or external references ({type(error).__name__}), "
            "which no labelling tool writes and which can be an attack; remove the <!DOCTYPE ...> part"
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise LabelError(
            f"{path}: not well-formed XML ({error}); export it again or fix that line"
        ) from error
    if root.tag != "annotation":
        raise LabelError(f"{path}: the root is <{root.tag}>; expected Pascal VOC's <annotation>")
    return root


def _size(root: Element) -> tuple[int, int] | None:
    """Return (width, height), or None where missing or 0, which some tools write for "unknown"."""
    try:
        width, height = (round(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _box(item: Element, where: str) -> list[float]:
    if item.find("bndbox") is None:
        raise LabelError(f"{where}: no <bndbox>; only boxes are supported, draw one around the object")
    values = []
    for corner in _CORNERS:
        text = (item.findtext(f"bndbox/{corner}") or "").strip()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not abs(value) < 1e9:
            raise LabelError(f"{where}: <{corner}> is {text!r}; expected a number of pixels")
        values.append(value)
    return values
