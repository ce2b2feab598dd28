"""Response formats of `/score`, named after the services that use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lookonce.core.detections import Detections
from lookonce.serving.protocols.label_studio_config import prediction
from lookonce.serving.server.service import RequestResult

Named = tuple[str, Detections]


def encode_result(form: str, names: Sequence[str], result: RequestResult) -> Any:
    """Build the JSON content of `/score?format=FORM`.

    Every outcome of `result` must be Detections. azure: Azure AutoML for images, a list. custom-vision and
    predecessor (pixel boxes [top, left, bottom, right] with class indices): an object per image, in a list
    unless there is one image. ultralytics: an object with `images`. labelstudio: an object with `results`.

    Args:
        form: a key of FORMS.
        names: the images' names.
        result: the images' detections.
    """
    detections = [outcome for outcome in result.outcomes if isinstance(outcome, Detections)]
    return FORMS[form](list(zip(names, detections, strict=True)), result)


def _azure(images: list[Named], result: RequestResult) -> Any:
    return [found.to_dict(name) for name, found in images]


def _custom_vision(images: list[Named], result: RequestResult) -> Any:
    return _unwrap_single([_custom_vision_one(name, found, result) for name, found in images])


def _custom_vision_one(name: str, found: Detections, result: RequestResult) -> dict[str, Any]:
    width, height = found.image_size
    return {
        "id": name,
        "project": result.model.name,
        "iteration": result.model.version,
        "created": result.model.card.created,
        "predictions": [
            {
                "probability": _rounded(score),
                "tagId": str(label),
                "tagName": found.names[label],
                "boundingBox": {
                    "left": _rounded(left / width),
                    "top": _rounded(top / height),
                    "width": _rounded((right - left) / width),
                    "height": _rounded((bottom - top) / height),
                },
            }
            for (left, top, right, bottom), score, label in _rows(found)
        ],
    }


def _ultralytics(images: list[Named], result: RequestResult) -> Any:
    milliseconds = {stage: round(1000 * seconds, 3) for stage, seconds in result.seconds.items()}
    speed = {
        "preprocess": milliseconds["decode"],
        "inference": milliseconds["infer"],
        "postprocess": milliseconds["nms"],
    }
    return {
        "images": [
            {
                "results": [
                    {
                        "class": label,
                        "name": found.names[label],
                        "confidence": _rounded(score),
                        "box": dict(zip(("x1", "y1", "x2", "y2"), map(_rounded, box), strict=True)),
                    }
                    for box, score, label in _rows(found)
                ],
                "shape": [found.image_size[1], found.image_size[0]],
                "speed": speed,
            }
            for _, found in images
        ],
        "metadata": {"imageCount": len(images), "model": result.model.name},
    }


def _label_studio(images: list[Named], result: RequestResult) -> Any:
    return {"results": [prediction(found, model_version=result.model.version) for _, found in images]}


def _predecessor(images: list[Named], result: RequestResult) -> Any:
    content = []
    for _, found in images:
        rows = _rows(found)
        content.append(
            {
                "bboxes": [
                    [_rounded(value) for value in (top, left, bottom, right)]
                    for (left, top, right, bottom), _, _ in rows
                ],
                "scores": [_rounded(score) for _, score, _ in rows],
                "classes": [label for _, _, label in rows],
            }
        )
    return _unwrap_single(content)


def _rows(found: Detections) -> list[tuple[list[float], float, int]]:
    return list(zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True))


def _rounded(value: float) -> float:
    return round(float(value), 6)


def _unwrap_single(content: list[Any]) -> Any:
    return content[0] if len(content) == 1 else content


FORMS: dict[str, Callable[[list[Named], RequestResult], Any]] = {
    "azure": _azure,
    "custom-vision": _custom_vision,
    "ultralytics": _ultralytics,
    "labelstudio": _label_studio,
    "predecessor": _predecessor,
}
