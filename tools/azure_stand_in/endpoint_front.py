"""The front of an endpoint: it checks the key, splits traffic, limits requests, and maps status codes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import quote

import isodate

from azure_stand_in.endpoint_process import Container
from azure_stand_in.wire import Answer, Request

_HOP_BY_HOP = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "expect"}
_CHOICE = "azureml-model-deployment"
_REASON = "ms-azureml-model-error-reason"
_MOST_SECONDS = {"Managed": 180.0, "Kubernetes": 300.0}


class Running:
    """The containers of one deployment, used in turn, with a limit of concurrent requests."""

    def __init__(self, name: str, properties: Mapping[str, Any], containers: list[Container]) -> None:
        self.name, self.containers = name, containers
        self.kind = str(properties["endpointComputeType"])
        settings = properties.get("requestSettings") or {}
        wanted = settings.get("requestTimeout")
        seconds = isodate.parse_duration(wanted).total_seconds() if wanted else 5.0
        self.seconds = min(seconds, _MOST_SECONDS[self.kind])
        self._most = 2 * (settings.get("maxConcurrentRequestsPerInstance") or 1) * len(containers)
        self._inside = self._turn = 0
        self._lock = threading.Lock()

    def enter(self) -> Container | None:
        """Return the next container, or None at the limit."""
        with self._lock:
            if self._inside >= self._most:
                return None
            self._inside += 1
            self._turn += 1
            return self.containers[self._turn % len(self.containers)]

    def leave(self) -> None:
        """Count a finished request."""
        with self._lock:
            self._inside -= 1


class Front:
    """Answer requests to the scoring address of one endpoint.

    `authorization` says whether containers get the Authorization header. `refusal` returns why a
    request is rejected, or an empty string.
    """

    authorization = True

    def __init__(self, refusal: Callable[[Request], str]) -> None:
        self._refusal = refusal
        self.running: dict[str, Running] = {}
        self._credit: dict[str, int] = {}
        self._lock = threading.Lock()

    def answer(self, below: str, traffic: Mapping[str, int], request: Request) -> Answer:
        """Answer a request; `below` is the path inside the container."""
        if reason := self._refusal(request):
            return Answer(401, reason.encode(), {"Content-Type": "text/plain", _REASON: reason})
        name = request.headers.get(_CHOICE) or self._next(traffic)
        running = self.running.get((name or "").lower())
        if running is None:
            text = f"Deployment {name} not found" if name else "No valid deployments to route to."
            return Answer(404, text.encode(), {"Content-Type": "text/plain", _REASON: "no_route"})
        container = running.enter()
        if container is None:
            return Answer(429, b"", {"Content-Type": "text/plain", _REASON: "too_many_pending_request"})
        try:
            answer = self._forward(running, container, below, request)
        finally:
            running.leave()
        return Answer(answer.status, answer.content, {**answer.headers, _CHOICE: running.name})

    def _next(self, traffic: Mapping[str, int]) -> str:
        """Choose a deployment by its share of the traffic, evenly spread."""
        with self._lock:
            shares = {name: share for name, share in traffic.items() if share > 0}
            if not shares:
                return ""
            self._credit = {name: self._credit.get(name, 0) + share for name, share in shares.items()}
            name = max(self._credit, key=lambda one: self._credit[one])
            self._credit[name] -= sum(shares.values())
            return name

    def _forward(self, running: Running, container: Container, below: str, request: Request) -> Answer:
        managed = running.kind == "Managed"
        if not container.alive:
            threading.Thread(target=container.restart, args=(running.seconds,), daemon=True).start()
            return Answer(424 if managed else 502, b"", {_REASON: "model_not_ready"})
        connection = HTTPConnection("127.0.0.1", container.port, timeout=running.seconds)
        try:
            address = quote(below) + (f"?{request.raw_query}" if request.raw_query else "")
            connection.request(request.method, address, request.body or None, self._headers(request))
            response = connection.getresponse()
            return _passed(response, response.read(), managed)
        except TimeoutError:
            return Answer(408 if managed else 504, b"", {_REASON: "model_request_timeout"})
        except (OSError, HTTPException):
            return Answer(424 if managed else 502, b"", {_REASON: "model_error"})
        finally:
            connection.close()

    def _headers(self, request: Request) -> dict[str, str]:
        hidden = _HOP_BY_HOP | {_CHOICE} | (set() if self.authorization else {"authorization"})
        return {name: value for name, value in request.headers.items() if name not in hidden}


def _passed(response: HTTPResponse, body: bytes, managed: bool) -> Answer:
    headers = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP}
    for name in ("Date", "Server"):
        headers.pop(name, None)
        headers.pop(name.lower(), None)
    if not managed or response.status == 200:
        return Answer(response.status, body, headers)
    # A managed endpoint returns 424 for any status but 200, with the container's status in a header.
    own = {_REASON: "model_error", "ms-azureml-model-error-statuscode": str(response.status)}
    return Answer(424, body, {**headers, **own})
