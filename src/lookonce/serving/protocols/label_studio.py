"""`/label-studio`: the routes of a Label Studio machine learning backend.

Each task's image is fetched from Label Studio; its prediction has boxes with the project's own labels. A task
whose image cannot be fetched gets no prediction, so that Label Studio can request it again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from lookonce.core.detections import Detections
from lookonce.labels.records import LabelError
from lookonce.serving.protocols.label_studio_config import LabelingConfig, prediction, read_config
from lookonce.serving.server.allowed_images import AllowedImages, FetchError
from lookonce.serving.server.guard import Bodies, response
from lookonce.serving.server.replies import Refusal, Reply, as_json
from lookonce.serving.server.service import Service
from lookonce.serving.server.settings import Settings
from lookonce.serving.server.telemetry import log
from lookonce.serving.server.uploads import Upload, read_json

# Label Studio waits 100 seconds for all tasks of a request; tasks not started by then are left out.
_BUDGET_SECONDS = 80.0
_TASKS_AT_ONCE = 8
_REQUESTS_AT_ONCE = 4
_RETRY_SECONDS = 0.1


def routes(service: Callable[[], Service], settings: Settings, bodies: Bodies) -> APIRouter:
    """Create the routes below /label-studio. `service` raises Refusal 503 while the model loads."""
    router = APIRouter(prefix="/label-studio", tags=["label studio"])
    backend = _Backend(settings)

    @router.get("/health")
    async def health() -> Response:
        """Report whether the model is ready."""
        service()
        return _json({"status": "UP"})

    @router.get("/versions")
    async def versions() -> Response:
        """Return the model's version."""
        return _json({"versions": [service().model.version]})

    @router.post("/setup", openapi_extra=_body(schema={"type": "string"}))
    async def setup(request: Request) -> Response:
        """Check that the model and the project share a class; called when the model is connected."""
        content = await _object(request, bodies)
        return _json({"model_version": backend.setup(service(), content)})

    @router.post("/predict", openapi_extra=_body(tasks={"type": "array", "items": {"type": "object"}}))
    async def predict(request: Request) -> Response:
        """Return predictions for tasks, in order."""
        content = await _object(request, bodies)
        return _json(await backend.predict(service(), content))

    @router.post("/webhook", openapi_extra=_body(action={"type": "string"}))
    async def webhook(request: Request) -> Response:
        """Ignore events of the project; training is not supported."""
        content = await _object(request, bodies)
        if content.get("action") == "START_TRAINING":
            raise Refusal(
                400,
                "this service does not train. Export the labels, run lookonce train, and serve that model.",
            )
        return _json({"status": "ignored"})

    return router


class _Backend:
    def __init__(self, settings: Settings) -> None:
        self._images = AllowedImages(
            settings.label_studio, settings.label_studio_key, settings.max_body_bytes
        )
        # Separate threads: waiting for images must not delay /score.
        self._requests = ThreadPoolExecutor(_REQUESTS_AT_ONCE, thread_name_prefix="label-studio")
        self._tasks = ThreadPoolExecutor(_TASKS_AT_ONCE, thread_name_prefix="task")
        self._running = 0
        # Used for requests without a labelling config.
        self._config = LabelingConfig()

    def setup(self, service: Service, content: Mapping[str, Any]) -> str:
        """Return the model's version. Raises Refusal 400 if the model knows no class of the project."""
        config = _config(content.get("schema")) or LabelingConfig()
        names = service.model.detector.names
        unknown = [name for name in names if config.label_of(name) is None]
        if len(unknown) == len(names):
            labels = ", ".join(sorted(set((config.labels or {}).values()))[:10])
            refusal = (
                f"the project's labels ({labels[:200]}) match none of the model's classes "
                f"({', '.join(names[:10])}). Use the same names, or add predicted_values to the <Label>s."
            )
            log("label studio setup refused", 30, reason=refusal)
            raise Refusal(400, refusal)
        if isinstance(token := content.get("access_token"), str) and token.isascii() and token.isprintable():
            self._images.use_key(token)
        self._config = config
        some = ", ".join(unknown[:10]) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
        log("label studio connected", classes=len(names), not_in_project=some or "none")
        return service.model.version

    async def predict(self, service: Service, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to /predict. Raises Refusal 400 or 503."""
        tasks = content.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise Refusal(
                400, 'tasks is missing or not a list of objects; expected {"tasks": [{"data": {…}}]}.'
            )
        config = _config(content.get("label_config")) or self._config
        if self._running >= _REQUESTS_AT_ONCE:
            raise Refusal(503, "too many prediction requests at once; try again soon.")
        self._running += 1
        try:
            loop = asyncio.get_running_loop()
            results = await loop.run_in_executor(self._requests, self._predict, service, tasks, config)
        finally:
            self._running -= 1
        return {"results": results, "model_version": service.model.version}

    def _predict(self, service: Service, tasks: list[dict[str, Any]], config: LabelingConfig) -> list[Any]:
        until = time.monotonic() + _BUDGET_SECONDS

        def one(task: dict[str, Any]) -> dict[str, Any] | list[Any]:
            try:
                return self._predict_task(service, task, config, until)
            except (FetchError, Refusal) as error:
                log("task not predicted", 30, task=str(task.get("id"))[:20], reason=str(error))
                return []

        return list(self._tasks.map(one, tasks))

    def _predict_task(
        self, service: Service, task: dict[str, Any], config: LabelingConfig, until: float
    ) -> dict[str, Any]:
        if time.monotonic() > until:
            raise FetchError("no time left in this request; request the rest again")
        data = task.get("data")
        address = data.get(config.data_key) if isinstance(data, dict) else None
        if not isinstance(address, str) or not address:
            raise FetchError(f"its data has no image URL in {config.data_key!r}")
        upload = Upload("the image", self._images.fetch(address))
        while True:
            try:
                result = service.submit([upload]).result()
                break
            except Refusal as refusal:
                if refusal.status != 503 or service.closed or time.monotonic() > until:
                    raise
                time.sleep(_RETRY_SECONDS)
        (outcome,) = result.outcomes
        if not isinstance(outcome, Detections):
            raise FetchError(str(outcome))
        return prediction(outcome, config, result.model.version)


def _config(text: object) -> LabelingConfig | None:
    if text is None or text == "":
        return None
    if not isinstance(text, str):
        raise Refusal(400, "the labelling config is not a string; expected the project's XML.")
    try:
        return read_config(text)
    except LabelError as error:
        log("label studio config refused", 30, reason=str(error))
        raise Refusal(400, str(error)) from error


async def _object(request: Request, bodies: Bodies) -> dict[str, Any]:
    # Requiring JSON blocks cross-site requests: browsers send it across origins only if allowed.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "Content-Type must be application/json.")
    with await bodies.read(request) as body:
        content = await asyncio.to_thread(read_json, body)
    if not isinstance(content, dict):
        raise Refusal(400, "the body is not a JSON object.")
    return content


def _json(content: object) -> Response:
    return response(Reply(200, as_json(content)))


def _body(**properties: object) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
