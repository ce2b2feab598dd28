"""`/v2`: the Open Inference Protocol, in JSON or with binary tensors, and the model repository routes.

The model has one input, `image`: UINT8 RGB [h, w, 3] or [n, h, w, 3], or BYTES [n] with image files (base64
in JSON). Outputs are flat arrays with one row per box: `boxes` FP32 [m, 4] xyxy in pixels, `scores` FP32 [m],
`classes` INT64 [m], `labels` BYTES [m], `images` INT64 [m], the index of the image that a row belongs to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from lookonce._version import __version__
from lookonce.core.detections import Detections
from lookonce.io.images import ImageError, TooManyPixelsError
from lookonce.serving.protocols.tensors import INPUT, OUTPUTS, InferenceRequest, encode_response, read_request
from lookonce.serving.server.guard import Bodies, response
from lookonce.serving.server.replies import Refusal, Reply, as_json
from lookonce.serving.server.served_model import ServedModel
from lookonce.serving.server.service import Service

HEADER_LENGTH = "Inference-Header-Content-Length"


def routes(service: Callable[[], Service], reload: Callable[[], Awaitable[str]], bodies: Bodies) -> APIRouter:
    """Create the routes below /v2. `service` and `reload` raise Refusal 503 while the model loads."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol"])

    def served(name: str, version: str | None = None) -> ServedModel:
        model = service().model
        if name != model.name:
            raise Refusal(404, f"no model of this name; this service serves {model.name!r}.")
        if version is not None and version != model.version:
            raise Refusal(404, f"no such version; this service serves {model.version!r}.")
        return model

    @router.get("")
    async def server() -> Response:
        extensions = ["binary_tensor_data", "model_repository"]
        return _json({"name": "lookonce", "version": __version__, "extensions": extensions})

    @router.get("/health/live")
    async def live() -> Response:
        return _json({"live": True})

    @router.get("/health/ready")
    async def ready() -> Response:
        service()
        return _json({"ready": True})

    @router.get("/models/{name}")
    @router.get("/models/{name}/versions/{version}")
    async def metadata(name: str, version: str | None = None) -> Response:
        model = served(name, version)
        return _json(
            {
                "name": model.name,
                "versions": [model.version],
                "platform": "onnxruntime_onnx",
                "inputs": [INPUT],
                "outputs": OUTPUTS,
            }
        )

    @router.get("/models/{name}/ready")
    @router.get("/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str | None = None) -> Response:
        model = served(name, version)
        return _json({"name": model.name, "ready": True})

    @router.post("/models/{name}/infer", openapi_extra=_INFER)
    @router.post("/models/{name}/versions/{version}/infer", openapi_extra=_INFER)
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        served(name, version)
        running = service()
        with await bodies.read(request) as body:
            inference = await asyncio.to_thread(
                read_request, body, request.headers.get(HEADER_LENGTH), running.settings
            )
            result = await asyncio.wrap_future(
                running.submit(inference.images, inference.conf, inference.iou)
            )
        content, header_length = encode_response(inference, _detections_of(result.outcomes), result.model)
        headers = {} if header_length is None else {HEADER_LENGTH: str(header_length)}
        media_type = "application/json" if header_length is None else "application/octet-stream"
        return response(Reply(200, content, media_type, headers))

    @router.post("/repository/index")
    async def index() -> Response:
        model = service().model
        return _json([{"name": model.name, "version": model.version, "state": "READY", "reason": ""}])

    @router.post("/repository/models/{name}/load")
    async def load(name: str) -> Response:
        served(name)
        return _json({"name": name, "version": await reload()})

    @router.post("/repository/models/{name}/unload")
    async def unload(name: str) -> Response:
        served(name)
        raise Refusal(400, "this service always serves its one model; stop the service instead.")

    return router


def _detections_of(outcomes: tuple[Detections | ImageError, ...]) -> list[Detections]:
    detections = []
    for outcome in outcomes:
        if isinstance(outcome, ImageError):
            raise Refusal(413 if isinstance(outcome, TooManyPixelsError) else 422, f"{outcome}.")
        detections.append(outcome)
    return detections


def _json(content: object) -> Response:
    return response(Reply(200, as_json(content)))


_INFER: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "parameters": {"type": "object"},
                        "inputs": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["name", "shape", "datatype", "data"],
                                "properties": {
                                    "name": {"type": "string", "enum": ["image"]},
                                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                                    "datatype": {"type": "string", "enum": ["BYTES", "UINT8"]},
                                    "parameters": {"type": "object"},
                                    "data": {"type": "array"},
                                },
                            },
                        },
                        "outputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {"name": {"type": "string"}},
                            },
                        },
                    },
                }
            }
        },
    }
}
__all__ = ["HEADER_LENGTH", "InferenceRequest", "routes"]
