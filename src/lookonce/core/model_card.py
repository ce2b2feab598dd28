"""The model card, `lookonce.json` inside every model file: what is needed to use it, and its origin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from lookonce.core.boxes import RESIZES
from lookonce.errors import LookonceError

FORMAT = 1
# Name of the entry in a .keras archive, and key in the metadata of an ONNX file.
CARD_KEY = "lookonce.json"
# A 4096 x 4096 input already takes gigabytes; a typo in one number must not fill the memory.
MAX_INPUT_PIXELS = 4096 * 4096


@dataclass(frozen=True)
class ModelCard:
    """Description of one model.

    Args:
        name: the model's name.
        classes: class names in the order of the network's outputs.
        input_size: (height, width) in pixels.
        resize: "letterbox" or "stretch".
        cfg: the whole Darknet cfg text, which holds anchors, masks and thresholds.
        trained_on: dataset name, counts and SHA-256.
        metrics: validation figures by name.
        created: UTC time, ISO 8601.
        lookonce: version that wrote the card.
        format: version of the card's format.

    Example:
        >>> card = ModelCard("cars", ("car", "dog"), (416, 416), "letterbox", cfg="[net]")
        >>> ModelCard.from_json(card.to_json(), "cars.onnx").classes
        ('car', 'dog')
    """

    name: str
    classes: tuple[str, ...]
    input_size: tuple[int, int]
    resize: str
    cfg: str
    trained_on: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    lookonce: str = ""
    format: int = FORMAT

    def to_json(self) -> str:
        """Return the card as indented JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, source: str) -> ModelCard:
        """Parse a card; `source` names the file in errors. Raises LookonceError."""
        try:
            values = json.loads(text)
            if values.get("format") != FORMAT:
                raise LookonceError(
                    f"{source}: lookonce.json has format {values.get('format')!r}, "
                    f"this version reads {FORMAT}. "
                    "Update lookonce, or export the model again."
                )
            # A value of another type would fail far from here.
            _refuse_types(values)
            known = {key: values[key] for key in cls.__dataclass_fields__ if key in values}
            known |= {key: tuple(known[key]) for key in ("classes", "input_size")}
            card = cls(**known)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise LookonceError(
                f"{source}: lookonce.json is damaged ({error}). Export the model again."
            ) from error
        if card.resize not in RESIZES:
            raise LookonceError(
                f"{source}: lookonce.json says resize {card.resize!r}, expected one of {', '.join(RESIZES)}."
            )
        return card


def _refuse_types(values: Mapping[str, Any]) -> None:
    """Raise TypeError for a value of the wrong type."""
    texts = (values["name"], values["resize"], values["cfg"], *values["classes"])
    if not isinstance(values["classes"], list) or not all(isinstance(text, str) for text in texts):
        raise TypeError("name, classes, resize and cfg must be text")
    size = values["input_size"]
    if len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise TypeError(f"input_size is {size}; expected [height, width] in pixels")
    if size[0] * size[1] > MAX_INPUT_PIXELS:
        raise ValueError(f"input_size is {size}; expected at most {MAX_INPUT_PIXELS:,} pixels")
