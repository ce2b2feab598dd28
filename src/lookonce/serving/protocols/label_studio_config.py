"""Label Studio's side of a detection: a project's labelling config, and predictions that fit it.

The service answers Label Studio's requests with these; files of pre-labels hold the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from lookonce.core.detections import Detections
from lookonce.labels.records import LabelError

_VARIABLE = re.compile(r"\$\{?(?:data\.)?([\w.-]+)\}?\Z")
_FIX = (
    'expected <Image name="image" value="$image"/> and <RectangleLabels name="label" toName="image"> with a '
    "<Label> for each class, as the template Object Detection with Bounding Boxes has them"
)


@dataclass(frozen=True)
class LabelingConfig:
    """What boxes need of a project's labelling config.

    `from_name` names the RectangleLabels, `to_name` the Image, `data_key` the entry of a task's data with the
    image's address. `labels` maps the names that a model may have for a class, in lower case, to what the
    project's annotations call it. None: any name as it is.
    """

    from_name: str = "label"
    to_name: str = "image"
    data_key: str = "image"
    labels: Mapping[str, str] | None = field(default=None)

    def label_of(self, name: str) -> str | None:
        """The project's label for a model's class, None if it has none."""
        return name if self.labels is None else self.labels.get(name.strip().lower())


def read_config(text: str) -> LabelingConfig:
    """A project's labelling config (XML, as Settings > Labeling Interface > Code shows it).

    Raises:
        LabelError: no XML, or no RectangleLabels on an Image.
    """
    try:
        root = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise LabelError(f"the labelling config is not XML ({error}); {_FIX}.") from error
    images = {_name(tag): tag for tag in root.iter("Image")}
    rectangles = list(root.iter("RectangleLabels"))
    for tag in rectangles:
        if (image := images.get(tag.get("toName", ""))) is None:
            continue
        key = _VARIABLE.match(image.get("value", "").strip())
        if key is None:
            raise LabelError(
                f'the labelling config has <Image name="{_name(image)}"> without value="$…"; {_FIX}.'
            )
        return LabelingConfig(_name(tag), _name(image), key[1], _labels(tag))
    has = "a RectangleLabels whose toName is no Image" if rectangles else "no RectangleLabels"
    raise LabelError(f"the labelling config has {has}; {_FIX}.")


def prediction(
    found: Detections, config: LabelingConfig | None = None, model_version: str | None = None
) -> dict[str, Any]:
    """An image's detections as Label Studio takes predictions: boxes in percent of the image.

    Classes that `config` has no label for are left out. `score` is the boxes' mean, which the Data Manager
    sorts tasks by; 0 without boxes.
    """
    config = config or LabelingConfig()
    width, height = found.image_size
    results = []
    for box, score, index in zip(
        found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True
    ):
        if (label := config.label_of(found.names[index])) is None:
            continue
        left, right = (_percent(value, width) for value in box[0::2])
        top, bottom = (_percent(value, height) for value in box[1::2])
        results.append(
            {
                "type": "rectanglelabels",
                "from_name": config.from_name,
                "to_name": config.to_name,
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {
                    "x": round(left, 4),
                    "y": round(top, 4),
                    "width": round(right - left, 4),
                    "height": round(bottom - top, 4),
                    "rotation": 0,
                    "rectanglelabels": [label],
                },
                "score": round(score, 6),
            }
        )
    mean = sum(one["score"] for one in results) / len(results) if results else 0.0
    answer: dict[str, Any] = {"result": results, "score": round(mean, 6)}
    if model_version is not None:
        answer["model_version"] = model_version
    return answer


def _labels(rectangles: Element) -> dict[str, str]:
    """By value, alias and `predicted_values`, Label Studio's own way to say what a model calls a label."""
    known: dict[str, str] = {}
    tags = [tag for tag in rectangles.iter("Label") if tag.get("value")]
    # A label's own name beats what another one lists.
    for names in (lambda tag: [tag.get("value"), tag.get("alias")], _predicted_values):
        for tag in tags:
            for name in filter(None, names(tag)):
                # Where there is an alias, annotations hold it instead of the value.
                known.setdefault(name.strip().lower(), tag.get("alias") or tag.attrib["value"])
    return known


def _predicted_values(tag: Element) -> list[str]:
    return [name.strip() for name in tag.get("predicted_values", "").split(",")]


def _name(tag: Element) -> str:
    return tag.get("name", "")


def _percent(value: float, size: int) -> float:
    return min(100.0, max(0.0, 100.0 * value / size))
