"""OpenAPI schemas of the routes that parse their bodies themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lookonce.serving.protocols.responses import FORMS
from lookonce.serving.server.settings import Settings

Schema = dict[str, Any]

ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "request_id": {"type": "string"}},
}


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusal(description: str) -> Schema:
    return _json(description, ERROR)


_RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
_UNAVAILABLE = {**_refusal("Still loading, too many requests, or deadline exceeded"), "headers": _RETRY}
# Errors that any route may return.
REFUSALS: dict[int | str, Schema] = {
    400: _refusal("The request is invalid or malformed HTTP"),
    401: _refusal("The key is missing or wrong"),
    404: _refusal("No such route, model or version"),
    405: _refusal("The route does not allow this method"),
    408: _refusal("The body took too long"),
    413: _refusal("Too many bytes, pixels or images"),
    415: _refusal("Unsupported content type or encoding"),
    422: _refusal("An invalid parameter or an unreadable image"),
    431: _refusal("The headers are too long"),
    503: _UNAVAILABLE,
}

_FRACTION: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_BASE64: Schema = {"type": "string", "format": "byte", "minLength": 1}
_BOX: Schema = {
    "type": "object",
    "required": ["label", "score", "box"],
    "properties": {
        "label": {"type": "string"},
        "score": _FRACTION,
        "box": {
            "type": "object",
            "required": ["topX", "topY", "bottomX", "bottomY"],
            "properties": dict.fromkeys(("topX", "topY", "bottomX", "bottomY"), _FRACTION),
        },
    },
}
_IMAGE: Schema = {
    "type": "object",
    "required": ["filename", "width", "height", "boxes"],
    "properties": {
        "filename": {"type": "string"},
        "width": {"type": "integer", "minimum": 1},
        "height": {"type": "integer", "minimum": 1},
        "boxes": {"type": "array", "items": _BOX},
    },
}
_AUTOML: Schema = {
    "type": "object",
    "required": ["input_data"],
    "properties": {
        "input_data": {
            "type": "object",
            "required": ["data"],
            "properties": {
                "columns": {"type": "array", "items": {"type": "string"}},
                "data": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "oneOf": [_BASE64, {"type": "array", "minItems": 1, "maxItems": 1, "items": _BASE64}]
                    },
                },
            },
        }
    },
}
_PREDECESSOR: Schema = {"type": "object", "required": ["data"], "properties": {"data": _BASE64}}
_FILES: Schema = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": {"type": "string", "format": "binary"}},
}
_BYTES: Schema = {"type": "string", "format": "binary", "minLength": 1}


def _query(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "required": False, "schema": schema}


SCORE: Schema = {
    "responses": {
        200: {
            "description": "One object per image; format= selects another format, draw=1 the annotated image",
            "content": {
                "application/json": {
                    "schema": {
                        "anyOf": [{"type": "array", "items": _IMAGE}, {"type": "object"}],
                    }
                },
                "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            },
        },
    },
    "openapi_extra": {
        "parameters": [
            _query("conf", "minimum score", _FRACTION),
            _query("iou", "IoU above which NMS drops the lower-scoring box", _FRACTION),
            _query("format", "response format", {"type": "string", "enum": list(FORMS)}),
            _query("draw", "1: return the annotated image instead", {"type": "integer", "enum": [0, 1]}),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/jpeg": {"schema": _BYTES},
                "image/png": {"schema": _BYTES},
                "application/octet-stream": {"schema": _BYTES},
                "application/json": {"schema": {"oneOf": [_AUTOML, _PREDECESSOR]}},
                "multipart/form-data": {"schema": _FILES},
            },
        },
    },
}
_STATUS: Schema = {
    "type": "object",
    "required": ["status"],
    "properties": {name: {"type": "string"} for name in ("status", "model", "version")},
}
HEALTH: Schema = {"responses": {200: _json("Alive", _STATUS)}}
READY: Schema = {"responses": {200: _json("Ready", _STATUS)}}
METRICS: Schema = {
    "responses": {
        200: {"description": "Prometheus", "content": {"text/plain": {"schema": {"type": "string"}}}}
    }
}
MODEL: Schema = {
    "responses": {
        200: _json(
            "The model and the limits of a request",
            {
                "type": "object",
                "required": ["name", "version", "classes", "input_size", "resize", "conf", "iou", "limits"],
                "properties": {
                    "name": {"type": "string"},
                    "version": {"type": "string"},
                    "classes": {"type": "array", "items": {"type": "string"}},
                    "input_size": {
                        "type": "array",
                        "items": {"type": "integer"},
                        "minItems": 2,
                        "maxItems": 2,
                    },
                    "resize": {"type": "string"},
                    "conf": _FRACTION,
                    "iou": _FRACTION,
                    "limits": {"type": "object", "additionalProperties": {"type": "integer"}},
                },
            },
        )
    }
}


def with_key(generate: Callable[[], Schema], settings: Settings) -> Callable[[], Schema]:
    """Wrap the schema generator to declare the key, if the service has one."""

    def describe() -> Schema:
        schema = generate()
        if settings.key:
            schema.setdefault("components", {})["securitySchemes"] = {
                "key": {"type": "http", "scheme": "bearer"}
            }
            schema["security"] = [{"key": []}]
        return schema

    return describe
