"""Entry script for Azure Machine Learning's inference server, with the same `/score` as `lookonce serve`.

    azmlinfsrv --entry_script score_script.py --model_dir FOLDER

Name this file as a deployment's scoring script, or copy it alone: it requires lookonce and
azureml-inference-server-http 1.5 to be installed, and no other file. The model is found by `find_model`. The
server responds to GET / for liveness; the endpoint in front of it checks the key.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from azureml_inference_server_http.api.aml_request import rawhttp  # type: ignore[import-not-found]
from azureml_inference_server_http.api.aml_response import AMLResponse  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from lookonce.serving.server.service import Service

# Share of the server's request timeout; the rest is for sending the response.
_SHARE_OF_TIMEOUT = 0.9

_starting = threading.Lock()
_running: tuple[int, Service] | None = None


def init() -> None:
    """Load and warm up the model, once per worker process. Raises LookonceError."""
    # Imported here, not at the first request: it takes a while, and may fail.
    import lookonce.serving.server.scoring  # noqa: F401

    _service()


@rawhttp
def run(request: Any) -> AMLResponse:
    """Process one Flask request to /score; errors have the same statuses as in `lookonce serve`."""
    from lookonce.serving.server.scoring import score

    if request.method == "OPTIONS":
        return AMLResponse("", 200)
    if request.method != "POST":
        message = '{"error": "/score takes POST, with an image as its body."}'
        return AMLResponse(message, 405, {"Allow": "POST", "Content-Type": "application/json"})
    service = _service()
    # One byte over the limit suffices to detect a body that is too large.
    body = request.stream.read(service.settings.max_body_bytes + 1)
    reply = score(service, request.headers.get("Content-Type"), body, request.args.to_dict())
    return AMLResponse(reply.body, reply.status, {**reply.headers, "Content-Type": reply.media_type})


def _service() -> Service:
    """Return this process's service: threads and sessions do not survive the fork of a preloaded server."""
    global _running
    with _starting:
        if _running is None or _running[0] != os.getpid():
            _running = (os.getpid(), _start())
        return _running[1]


def _start() -> Service:
    from lookonce.io.parallel import available_cores
    from lookonce.serving.server.model_file import find_model
    from lookonce.serving.server.service import Service
    from lookonce.serving.server.settings import Settings
    from lookonce.serving.server.telemetry import start_log

    start_log(as_json=True)
    workers = int(os.environ.get("WORKER_COUNT") or 1)
    most_seconds = int(os.environ.get("SCORING_TIMEOUT_MS") or 30_000) / 1000 * _SHARE_OF_TIMEOUT
    return Service(
        Settings(
            model_path=str(find_model(None)),
            # A worker handles one request at a time and can use all its cores for it.
            lanes=1,
            threads=max(1, available_cores() // workers) if workers > 1 else 0,
            deadline_seconds=min(most_seconds, Settings.deadline_seconds),
        )
    )
