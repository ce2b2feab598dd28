"""Label Studio's formats: a project's labelling config, and predictions that match it.

Used by the service and for files of pre-labels.
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
    """The parts of a project's labelling config that boxes depend on.

    Args:
        from_name: name of the RectangleLabels tag.
        to_name: name of the Image tag.
        data_key: key of the image's URL in a task's data.
        labels: the project's label for each class name of a model, in lower case; None: keep all names.
    """

    from_name: str = "label"
    to_name: str = "image"
    data_key: str = "image"
    labels: Mapping[str, str] | None = field(default=None)

    def label_of(self, name: str) -> str | None:
        """Return the project's label for a model's class, or None."""
        return name if self.labels is None else self.labels.get(name.strip().lower())


def read_config(text: str) -> LabelingConfig:
    """Parse a project's labelling config (XML, as in Settings > Labeling Interface > Code).

    Raises:
        LabelError: the text is not XML, or has no RectangleLabels for an Image.
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
    has = "a RectangleLabels whose toName is not an Image" if rectangles else "no RectangleLabels"
    raise LabelError(f"the labelling config has {has}; {_FIX}.")


def prediction(
    detections: Detections, config: LabelingConfig | None = None, model_version: str | None = None
) -> dict[str, Any]:
    """Convert an image's detections to a Label Studio prediction, with boxes in percent of the image.

    Classes without a label in `config` are omitted. `score`, which the Data Manager sorts tasks by, is the
    mean score of the boxes, or 0.
    """
    config = config or LabelingConfig()
    width, height = detections.image_size
    results = []
    for box, score, index in zip(
        detections.boxes.tolist(), detections.scores.tolist(), detections.classes.tolist(), strict=True
    ):
        if (label := config.label_of(detections.names[index])) is None:
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
    content: dict[str, Any] = {"result": results, "score": round(mean, 6)}
    if model_version is not None:
        content["model_version"] = model_version
    return content


def _labels(rectangles: Element) -> dict[str, str]:
    """Map names to labels by value, alias and `predicted_values`, which lists a model's class names."""
    known: dict[str, str] = {}
    tags = [tag for tag in rectangles.iter("Label") if tag.get("value")]
    # A label's own name takes precedence over another label's predicted_values.
    for names in (lambda tag: [tag.get("value"), tag.get("alias")], _predicted_values):
        for tag in tags:
            for name in filter(None, names(tag)):
                # Annotations contain the alias, if there is one, instead of the value.
                known.setdefault(name.strip().lower(), tag.get("alias") or tag.attrib["value"])
    return known


def _predicted_values(tag: Element) -> list[str]:
    return [name.strip() for name in tag.get("predicted_values", "").split(",")]


def _name(tag: Element) -> str:
    return tag.get("name", "")


def _percent(value: float, size: int) -> float:
    return min(100.0, max(0.0, 100.0 * value / size))
