"""The REST API: routes of the FastAPI app, and loading of its model."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from lookonce._version import __version__
from lookonce.errors import LookonceError
from lookonce.serving.protocols import label_studio
from lookonce.serving.protocols import open_inference as inference_protocol
from lookonce.serving.server import openapi
from lookonce.serving.server.guard import Bodies, Guard, response
from lookonce.serving.server.replies import Refusal, Reply, as_json, error_reply
from lookonce.serving.server.scoring import ScoreRequest
from lookonce.serving.server.served_model import limit_heap_growth
from lookonce.serving.server.service import Service
from lookonce.serving.server.settings import Settings
from lookonce.serving.server.telemetry import Telemetry, log

_PAGE = Path(__file__).parents[1] / "page"
# Larger bodies are parsed in a thread: base64 of this size takes a millisecond.
_QUICK_BYTES = 256 * 1024


def create_app(settings: Settings, workers: int = 1, failed: Callable[[str], None] | None = None) -> FastAPI:
    """Create the app of one process; the model loads in the background while /health already responds.

    Args:
        settings: the model and the limits.
        workers: processes that share the port; a reload requested of one is passed on to all.
        failed: called with the message when the model cannot be loaded.
    """
    telemetry = Telemetry()
    stage = _Stage(settings, telemetry, workers, failed or _ignore)
    app = FastAPI(
        title="lookonce",
        version=__version__,
        summary="Object detection with one model",
        docs_url=None,
        redoc_url=None,
        lifespan=stage.lifespan,
        responses=openapi.REFUSALS,
    )
    bodies = Bodies(settings.max_body_bytes, settings.max_buffered_bytes, settings.body_seconds)
    _add_routes(app, stage, bodies)
    app.include_router(inference_protocol.routes(stage.service, stage.reload, bodies))
    app.include_router(label_studio.routes(stage.service, settings, bodies))
    app.mount("/page", StaticFiles(directory=_PAGE))
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _refused_by_framework)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Guard, telemetry=telemetry, key=settings.key)
    app.openapi = openapi.with_key(app.openapi, settings)  # type: ignore[method-assign]
    return app


class _Stage:
    """The service of this process: loading, ready or failed."""

    def __init__(
        self, settings: Settings, telemetry: Telemetry, workers: int, failed: Callable[[str], None]
    ) -> None:
        self.settings, self.telemetry, self._workers, self._failed = settings, telemetry, workers, failed
        self._service: Service | None = None

    def service(self) -> Service:
        """Return the service. Raises Refusal 503 while the model loads."""
        if self._service is None:
            raise Refusal(503, "the model is still loading; try again in a second.")
        return self._service

    async def reload(self) -> str:
        """Reload the model here, then in the other workers; return its version. Raises Refusal 400."""
        try:
            version = await asyncio.to_thread(self.service().reload)
        except LookonceError as error:
            raise error if isinstance(error, Refusal) else Refusal(400, str(error)) from error
        if self._workers > 1:
            os.kill(os.getppid(), signal.SIGHUP)
        return version

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Load the model in the background on startup; finish in-flight requests on shutdown."""
        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(self._load())}
        hangup = getattr(signal, "SIGHUP", None)
        try:
            if hangup is not None:
                loop.add_signal_handler(hangup, lambda: tasks.add(loop.create_task(self._reload_on_signal())))
        except (ValueError, RuntimeError, NotImplementedError):
            # Not the main thread, or a system without SIGHUP: the repository route reloads as well.
            hangup = None
        try:
            yield
        finally:
            if hangup is not None:
                loop.remove_signal_handler(hangup)
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._service is not None:
                await asyncio.to_thread(self._service.close)

    async def _load(self) -> None:
        limit_heap_growth()
        try:
            self._service = service = await asyncio.to_thread(Service, self.settings, self.telemetry)
        except LookonceError as error:
            self._failed(str(error))
            return
        except Exception as error:
            self._failed(f"the model could not be started ({type(error).__name__}: {error}).")
            return
        model = service.model
        log(
            "ready",
            model=model.name,
            version=model.version,
            engine=model.detector.engine.name,
            lanes=model.lanes,
        )

    async def _reload_on_signal(self) -> None:
        try:
            await asyncio.to_thread(self.service().reload)
        except LookonceError as error:
            log("model not loaded", 40, reason=str(error))


def _add_routes(app: FastAPI, stage: _Stage, bodies: Bodies) -> None:
    @app.post("/score", tags=["detection"], **openapi.SCORE)
    async def score(request: Request) -> Response:
        """Detect objects in one or more images."""
        service = stage.service()
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise Refusal(415, f"Content-Encoding is {encoding[:20]!r}; send the body uncompressed.")
        with await bodies.read(request) as body:
            kind, query = request.headers.get("content-type"), dict(request.query_params)
            limit = stage.settings.max_images
            if len(body) > _QUICK_BYTES and not (kind or "").startswith("image/"):
                score_request = await asyncio.to_thread(ScoreRequest.read, kind, body, query, limit)
            else:
                score_request = ScoreRequest.read(kind, body, query, limit)
            result = await asyncio.wrap_future(score_request.submit(service))
            reply = (
                await asyncio.to_thread(score_request.reply, result)
                if score_request.draws
                else score_request.reply(result)
            )
        return response(reply)

    @app.get("/model", tags=["model"], **openapi.MODEL)
    async def model() -> Response:
        """Describe the model and the limits of a request."""
        return response(Reply(200, as_json(stage.service().model.to_json(stage.settings))))

    @app.get("/health", tags=["probes"], **openapi.HEALTH)
    async def health() -> Response:
        """Report that the process is alive."""
        return response(Reply(200, as_json({"status": "alive"})))

    @app.get("/ready", tags=["probes"], **openapi.READY)
    async def ready() -> Response:
        """Report whether the model is loaded and warmed up."""
        served = stage.service().model
        return response(
            Reply(200, as_json({"status": "ready", "model": served.name, "version": served.version}))
        )

    @app.get("/metrics", tags=["probes"], **openapi.METRICS)
    async def metrics() -> Response:
        """Return metrics in the Prometheus text format."""
        content = await asyncio.to_thread(stage.telemetry.text)
        return Response(content, headers={"Content-Type": stage.telemetry.content_type})

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        """Serve the page for trying the model."""
        return FileResponse(_PAGE / "index.html", headers={"Cache-Control": "no-cache"})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return response(error_reply(error, request.state.request_id))


async def _refused_by_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    messages = {
        404: "no such route; /openapi.json lists them.",
        405: "this route does not allow this method.",
    }
    reply = response(
        error_reply(
            Refusal(error.status_code, messages.get(error.status_code, str(error.detail))),
            request.state.request_id,
        )
    )
    reply.headers.update(error.headers or {})
    return reply


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0] if error.errors() else {}
    where = ".".join(str(part) for part in first.get("loc", ()))
    status = 400 if first.get("type") == "json_invalid" else 422
    return response(
        error_reply(Refusal(status, f"{where}: {first.get('msg', 'not valid')}."), request.state.request_id)
    )


def _ignore(message: str) -> None:
    log("model not loaded", 40, reason=message)
