"""Detections in the forms that other services answer in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lookonce.core.detections import Detections
from lookonce.serving.protocols.label_studio_config import prediction
from lookonce.serving.server.service import Looked

Named = tuple[str, Detections]


def write_answer(form: str, names: Sequence[str], looked: Looked) -> Any:
    """What `/score?format=FORM` answers, ready for JSON; `names` are the images', all of them read.

    azure: Azure AutoML for images. custom-vision: an object an image. ultralytics: `images`. labelstudio:
    `results`. predecessor: pixel boxes [top, left, bottom, right] with class indices, an object a
    image. Where it is an object an image, one image has no list around it.
    """
    found = [answer for answer in looked.answers if isinstance(answer, Detections)]
    return FORMS[form](list(zip(names, found, strict=True)), looked)


def _azure(images: list[Named], looked: Looked) -> Any:
    return [found.to_dict(name) for name, found in images]


def _custom_vision(images: list[Named], looked: Looked) -> Any:
    return _alone([_custom_vision_one(name, found, looked) for name, found in images])


def _custom_vision_one(name: str, found: Detections, looked: Looked) -> dict[str, Any]:
    width, height = found.image_size
    return {
        "id": name,
        "project": looked.model.name,
        "iteration": looked.model.version,
        "created": looked.model.card.created,
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


def _ultralytics(images: list[Named], looked: Looked) -> Any:
    milliseconds = {stage: round(1000 * seconds, 3) for stage, seconds in looked.seconds.items()}
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
        "metadata": {"imageCount": len(images), "model": looked.model.name},
    }


def _label_studio(images: list[Named], looked: Looked) -> Any:
    return {"results": [prediction(found, model_version=looked.model.version) for _, found in images]}


def _predecessor(images: list[Named], looked: Looked) -> Any:
    answers = []
    for _, found in images:
        rows = _rows(found)
        answers.append(
            {
                "bboxes": [
                    [_rounded(value) for value in (top, left, bottom, right)]
                    for (left, top, right, bottom), _, _ in rows
                ],
                "scores": [_rounded(score) for _, score, _ in rows],
                "classes": [label for _, _, label in rows],
            }
        )
    return _alone(answers)


def _rows(found: Detections) -> list[tuple[list[float], float, int]]:
    return list(zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True))


def _rounded(value: float) -> float:
    return round(float(value), 6)


def _alone(answers: list[Any]) -> Any:
    return answers[0] if len(answers) == 1 else answers


FORMS: dict[str, Callable[[list[Named], Looked], Any]] = {
    "azure": _azure,
    "custom-vision": _custom_vision,
    "ultralytics": _ultralytics,
    "labelstudio": _label_studio,
    "predecessor": _predecessor,
}
