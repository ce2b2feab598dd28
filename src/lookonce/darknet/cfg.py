"""Darknet cfg text: parsed into sections, and changed with comments kept in place."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lookonce.core.model_card import MAX_INPUT_PIXELS
from lookonce.errors import LookonceError

# What a [yolo] section's `nms_kind` may be.
DEFAULT_NMS, GREEDY_NMS, DIOU_NMS = NMS_KINDS = ("default", "greedynms", "diounms")
# The exponent of greedynms, which takes no beta_nms (box.c, box_diou).
GREEDY_BETA = 0.6
# Darknet's short spellings of a section's name.
ALIASES = {"network": "net", "conv": "convolutional", "max": "maxpool"}
KINDS = ("convolutional", "maxpool", "upsample", "route", "shortcut", "dropout", "yolo")


class CfgError(LookonceError):
    """Invalid cfg; the message names file, line, the value found and the fix."""


@dataclass(frozen=True)
class Section:
    """One `[block]`: its kind, its options as written (the first of repeated keys), and its header line."""

    kind: str
    options: dict[str, str]
    line: int
    source: str = field(default="<cfg>", compare=False)
    lines: dict[str, int] = field(default_factory=dict, compare=False, repr=False)

    def error(self, message: str, key: str | None = None) -> CfgError:
        """Return a CfgError that points at this section, or at the line of one of its keys."""
        line = self.lines.get(key or "", self.line)
        return CfgError(f"{self.source}, line {line}: [{self.kind}] {message}")

    def text(self, key: str, default: str | None = None) -> str:
        """Return an option as text. Raises CfgError for a missing key without default."""
        value = self.options.get(key, default)
        if value is None:
            raise self.error(f"has no {key}; add a line {key}=...")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return an option as a finite number. Raises CfgError."""
        if key not in self.options and default is not None:
            return default
        return self._number(key, self.text(key))

    def integer(self, key: str, default: int | None = None) -> int:
        """Return an option as an integer. Raises CfgError."""
        if key not in self.options and default is not None:
            return default
        return self._whole(key, self.number(key))

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return a comma-separated list of numbers; one trailing comma is allowed. Raises CfgError."""
        parts = [part.strip() for part in self.text(key).split(",")]
        if parts[-1] == "":
            parts.pop()
        if not parts:
            raise self.error(f"{key} is empty; expected numbers separated by commas", key)
        return tuple(self._number(key, part) for part in parts)

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a comma-separated list of integers. Raises CfgError."""
        return tuple(self._whole(key, value) for value in self.numbers(key))

    def _number(self, key: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise self.error(f"{key} is {text!r}; expected a number", key) from None
        if not math.isfinite(value):
            raise self.error(f"{key} is {text!r}; expected a finite number", key)
        return value

    def _whole(self, key: str, value: float) -> int:
        if value != int(value):
            raise self.error(f"{key} is {value:g}; expected an integer", key)
        return int(value)


@dataclass(frozen=True, eq=False)
class Head:
    """Options of one `[yolo]` layer, with Darknet's defaults.

    `all_anchors` (num, 2) float32: width and height in network-input pixels; `mask` indexes its rows.
    """

    layer: int
    classes: int
    mask: tuple[int, ...]
    all_anchors: NDArray[np.float32]
    scale_x_y: float = 1.0
    new_coords: bool = False
    ignore_thresh: float = 0.5
    truth_thresh: float = 1.0
    iou_thresh: float = 1.0
    iou_normalizer: float = 1.0
    cls_normalizer: float = 1.0
    obj_normalizer: float = 1.0
    iou_loss: str = "mse"
    nms_kind: str = DEFAULT_NMS
    beta_nms: float = 0.6
    max_delta: float = math.inf
    label_smooth_eps: float = 0.0

    @property
    def anchors(self) -> NDArray[np.float32]:
        """Anchors of this head, (len(mask), 2)."""
        return self.all_anchors[list(self.mask)]

    @classmethod
    def of(cls, section: Section, layer: int) -> Head:
        """Read a `[yolo]` section. Raises CfgError if num, anchors and mask disagree."""
        classes, num = section.integer("classes", 20), section.integer("num", 1)
        if classes < 1:
            raise section.error(f"has classes={classes}; expected 1 or more", "classes")
        values = section.numbers("anchors")
        if len(values) != 2 * num:
            raise section.error(
                f"has num={num}, but anchors has {len(values)} numbers; expected {2 * num}, a width and a "
                f"height each. Set num={len(values) // 2} or fix the list",
                "anchors",
            )
        anchors = np.asarray(values, np.float32).reshape(-1, 2)
        if anchors.min() <= 0:
            raise section.error("has an anchor of size 0; widths and heights must be positive", "anchors")
        mask = section.integers("mask") if "mask" in section.options else tuple(range(num))
        wrong = [index for index in mask if not 0 <= index < num]
        if wrong:
            raise section.error(f"mask names anchor {wrong[0]}; the {num} anchors are 0 to {num - 1}", "mask")
        defaults = {option.name: option.default for option in fields(cls) if option.name in section.options}
        given = {key: section.number(key) for key, value in defaults.items() if isinstance(value, float)}
        words = {key: section.text(key) for key, value in defaults.items() if isinstance(value, str)}
        kind = words.get("nms_kind", DEFAULT_NMS)
        if kind not in NMS_KINDS:
            raise section.error(f"has nms_kind={kind}; expected one of {', '.join(NMS_KINDS)}", "nms_kind")
        if words.get("iou_loss", "mse") != "mse":
            # AlexeyAB's default; pjreddie's mse has no such factor.
            given.setdefault("iou_normalizer", 0.75)
        new_coords = bool(section.integer("new_coords", 0))
        return cls(layer, classes, mask, anchors, new_coords=new_coords, **given, **words)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Cfg:
    """A whole cfg. `layers` has Darknet's layer numbers, without [net]; `text` is the exact source."""

    source: str
    net: Section
    layers: tuple[Section, ...]
    text: str

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels. Raises CfgError."""
        size = (self.net.integer("height"), self.net.integer("width"))
        if min(size) < 1:
            raise self.net.error(f"has height={size[0]}, width={size[1]}; both must be above 0", "height")
        if size[0] * size[1] > MAX_INPUT_PIXELS:
            raise self.net.error(
                f"has height={size[0]}, width={size[1]}; expected at most {MAX_INPUT_PIXELS:,} pixels",
                "height",
            )
        return size

    @property
    def heads(self) -> tuple[Head, ...]:
        """The `[yolo]` layers in the order of the file. Raises CfgError."""
        return tuple(Head.of(s, index) for index, s in enumerate(self.layers) if s.kind == "yolo")

    def replace(self, changes: Mapping[int | Literal["net"], Mapping[str, str]]) -> Cfg:
        """Return a copy with changed options: `{layer index or "net": {key: value}}`.

        All other lines keep their place, comment and spacing; a new key is added at the end of its section.
        Raises IndexError for a layer that does not exist.
        """
        lines = self.text.split("\n")
        starts = [self.net.line, *(section.line for section in self.layers), len(lines) + 1]
        inserted: dict[int, list[str]] = {}
        for which, options in changes.items():
            section = self.net if which == "net" else self.layers[which]
            first, end = section.line, starts[starts.index(section.line) + 1] - 1
            return_mark = "\r" if lines[first - 1].endswith("\r") else ""
            for key, value in options.items():
                if key in section.lines:
                    at = section.lines[key] - 1
                    lines[at] = re.sub(
                        r"^([^=]*=[ \t]*)[^#]*?(\s*(?:#.*)?)$", rf"\g<1>{value}\g<2>", lines[at]
                    )
                    continue
                last = max(at for at in range(first - 1, end) if at == first - 1 or _is_content(lines[at]))
                inserted.setdefault(last + 1, []).append(f"{key}={value}{return_mark}")
        for at in sorted(inserted, reverse=True):  # from the bottom up: earlier positions stay valid
            lines[at:at] = inserted[at]
        return parse_cfg("\n".join(lines), self.source)


def _is_content(line: str) -> bool:
    return bool(line.strip()) and line.strip()[0] not in "#;"


def parse_cfg(text: str, source: str = "<cfg>") -> Cfg:
    """Parse cfg text as Darknet's read_cfg does; `source` names the file in errors.

    The first of repeated keys in a section counts. Raises CfgError with the line: no `[net]` first, an option
    before any section or without `=`, an unsupported kind of layer.

    >>> cfg = parse_cfg("[net]\\nwidth=416\\nheight=320")
    >>> cfg.input_size
    (320, 416)
    >>> cfg.replace({"net": {"width": "608"}}).input_size
    (320, 608)
    """
    sections: list[Section] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        # Darknet drops all spaces inside a line; comments after values are removed too.
        line = "".join(raw.split("#")[0].split())
        if not line or line[0] == ";":
            continue
        if line[0] == "[":
            kind = line.strip("[]").lower()
            sections.append(Section(ALIASES.get(kind, kind), {}, number, source))
            _check_kind(sections)
            continue
        if not sections:
            raise CfgError(
                f"{source}, line {number}: {raw.strip()!r} is before any [section]; start with [net]."
            )
        key, equals, value = line.partition("=")
        if not equals or not key:
            raise sections[-1].error(f"has the line {number} {raw.strip()!r}; expected key=value")
        if key not in sections[-1].options:
            sections[-1].options[key] = value
            sections[-1].lines[key] = number
    if not sections:
        raise CfgError(f"{source}: no [section] found; a Darknet cfg starts with [net].")
    return Cfg(source, sections[0], tuple(sections[1:]), text)


def _check_kind(sections: list[Section]) -> None:
    section = sections[-1]
    if len(sections) == 1:
        if section.kind != "net":
            raise section.error("is the first section; a Darknet cfg starts with [net]")
    elif section.kind not in KINDS:
        raise section.error(f"is not a supported layer; expected one of {', '.join(KINDS)}")


def read_cfg(path: str | os.PathLike[str]) -> Cfg:
    """Read a cfg file (UTF-8). Raises CfgError if it is missing, not text, or malformed."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CfgError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise CfgError(
            f"{path}: is not text; expected a Darknet .cfg file. Were cfg and weights swapped?"
        ) from error
    return parse_cfg(text, str(path))
