"""Middleware of every request: request id, key, security headers, log, metrics, bounded bodies."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import time
import uuid
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lookonce.serving.server.connection import MOST_HEADER_BYTES
from lookonce.serving.server.replies import Refusal, Reply, error_reply, too_large
from lookonce.serving.server.telemetry import Telemetry, log, log_fault

# Routes without a key: probes, the page that prompts for it, and the API description.
_OPEN = {
    "/",
    "/health",
    "/ready",
    "/openapi.json",
    "/label-studio/health",
    "/v2/health/live",
    "/v2/health/ready",
}
_OPEN_FOLDER = "/page/"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# A client refused while it still sends would see a broken connection instead of the response.
_DISCARD_SECONDS, _DISCARD_BYTES = 1.0, 8 * 2**20


class Guard:
    """ASGI middleware around the whole app; with a `key`, every route but the open ones requires it."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, key: str | None) -> None:
        self._app, self._telemetry = app, telemetry
        self._key = None if key is None else _digest(key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; pass other ASGI events through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _ID.match(given) else uuid.uuid4().hex[:16]
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = _Exchange(receive, send, request_id, _has_body(headers))
        try:
            if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADER_BYTES:
                # h11 limits headers that arrive in pieces; those that arrive in one piece are checked here.
                refusal = Refusal(431, f"the headers are longer than {MOST_HEADER_BYTES:,} bytes.")
                await response(error_reply(refusal, request_id))(scope, exchange.receive, exchange.send)
            elif self._requires_key(scope["path"]) and not self._has_valid_key(headers):
                refusal = Refusal(401, "the key is missing or wrong; send it as Authorization: Bearer KEY.")
                await response(error_reply(refusal, request_id))(scope, exchange.receive, exchange.send)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            log_fault("request failed", error, id=request_id)
            if exchange.status:
                raise
            refusal = Refusal(500, "internal error; see the service's log.")
            await response(error_reply(refusal, request_id))(scope, exchange.receive, exchange.send)
        finally:
            seconds = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", "other")
            self._telemetry.requests.labels(route, str(exchange.status)).inc()
            self._telemetry.latency.labels(route).observe(seconds)
            log(
                "request",
                id=request_id,
                method=scope["method"][:16],
                route=route,
                status=exchange.status,
                ms=round(1000 * seconds, 1),
            )

    def _requires_key(self, path: str) -> bool:
        return self._key is not None and path not in _OPEN and not path.startswith(_OPEN_FOLDER)

    def _has_valid_key(self, headers: Headers) -> bool:
        # Digests have equal lengths: the comparison reveals nothing about the key, not even its length.
        assert self._key is not None
        matches = [hmac.compare_digest(_digest(key), self._key) for key in _given_keys(headers)]
        return any(matches)


class _Exchange:
    """Wrap one request's ASGI messages; add headers to its response."""

    def __init__(self, receive: Receive, send: Send, request_id: str, has_body: bool) -> None:
        self._receive, self._send, self._id = receive, send, request_id
        self._unread = has_body
        self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in {**_SECURITY_HEADERS, "X-Request-ID": self._id}.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            if self._unread or self.status == 431:
                headers["Connection"] = "close"
                await self._discard()
        await self._send(message)

    async def _discard(self) -> None:
        size = 0
        try:
            async with asyncio.timeout(_DISCARD_SECONDS):
                while self._unread and size < _DISCARD_BYTES:
                    size += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


class Bodies:
    """Read request bodies, limited in size individually and in total."""

    def __init__(self, most_bytes: int, most_together: int, seconds: float) -> None:
        self._most, self._room, self._seconds = most_bytes, most_together, seconds

    async def read(self, request: Request) -> Body:
        """Read a body; use it as a context manager that frees its space. Raises Refusal 408, 413, 503."""
        body = Body(self)
        try:
            declared = request.headers.get("content-length", "0")
            if declared.isdecimal() and int(declared[:20]) > self._most:
                raise too_large(self._most)
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    body.add(chunk)
        except TimeoutError as error:
            body.release()
            raise Refusal(408, f"the body took longer than {self._seconds:g} seconds to arrive.") from error
        except BaseException:
            body.release()
            raise
        return body

    def take(self, count: int, size: int) -> None:
        """Reserve `count` bytes for a body that then has `size` bytes. Raises Refusal 413 or 503."""
        if size > self._most:
            raise too_large(self._most)
        if count > self._room:
            raise Refusal(503, "too many large requests at once; try again soon.")
        self._room -= count

    def give_back(self, count: int) -> None:
        """Return the space of a body."""
        self._room += count


class Body:
    """One request's bytes; `with body:` frees their space on exit."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies, self._parts, self._size = bodies, list[bytes](), 0

    def add(self, chunk: bytes) -> None:
        """Append a chunk. Raises Refusal 413 or 503."""
        self._bodies.take(len(chunk), self._size + len(chunk))
        self._size += len(chunk)
        self._parts.append(chunk)

    def release(self) -> None:
        """Free the space."""
        self._bodies.give_back(self._size)
        self._size = 0

    def __enter__(self) -> bytes:
        content = b"".join(self._parts)
        self._parts.clear()
        return content

    def __exit__(self, *_: object) -> None:
        self.release()


def response(reply: Reply) -> Response:
    """Convert a Reply to a Starlette response."""
    return Response(reply.body, reply.status, dict(reply.headers), reply.media_type)


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _given_keys(headers: Headers) -> Iterable[bytes]:
    """Yield the bearer token or the Basic password (all that Label Studio can send)."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield value.strip().encode("latin-1")
    elif scheme.lower() == "basic":
        try:
            yield base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return
