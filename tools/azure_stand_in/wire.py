"""An HTTPS server on a free port, with errors in the format of Azure's resource manager."""

from __future__ import annotations

import json
import ssl
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from azure_stand_in.certificates import Certificates


@dataclass(frozen=True)
class Request:
    """A request: the path without its query and percent encoding, header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    raw_query: str = ""

    def json(self) -> Any:
        """Return the body as JSON; an empty body is an empty object."""
        try:
            return json.loads(self.body) if self.body else {}
        except ValueError as error:
            raise ArmError(
                400, "InvalidRequestContent", f"The request content was invalid: {error}."
            ) from error


@dataclass(frozen=True)
class Answer:
    """A response: a status and its content, as bytes, None, or anything else as JSON."""

    status: int = 200
    content: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> tuple[bytes, dict[str, str]]:
        """Return the body and all headers."""
        if self.content is None:
            return b"", dict(self.headers)
        if isinstance(self.content, bytes):
            return self.content, dict(self.headers)
        return json.dumps(self.content).encode(), {"Content-Type": "application/json", **self.headers}


_NOT_FOUND = "The specified resource was not found."
_GENERAL = {"RequestInvalid": "Request is invalid and/or missing fields."}
HANG_UP = Answer(0)
"""No answer: the connection ends."""


class ArmError(Exception):
    """An error response; `code` is Azure's error code."""

    def __init__(
        self, status: int, code: str, message: str, detail: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.detail = status, code, message, detail
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Return Azure's error envelope; a `detail` is the narrower code inside it."""
        if not self.detail:
            return {"error": {"code": self.code, "message": self.message}}
        details = [
            {"code": self.detail, "message": line, "details": [], "additionalInfo": []}
            for line in self.message.split("\n")
        ]
        region = "westeurope"
        values = {"ComponentName": "managementfrontend", "Environment": region, "Location": region}
        infos = [{"type": name, "info": {"value": value}} for name, value in values.items()]
        general = _GENERAL.get(self.detail, _NOT_FOUND if self.status == 404 else self.message)
        return {
            "error": {
                "code": self.code,
                "message": general,
                "details": details,
                "additionalInfo": infos,
            }
        }

    def answer(self) -> Answer:
        """Return the error as a response."""
        return Answer(self.status, self.body(), self.headers)


def not_found(what: str, code: str = "NotFound") -> ArmError:
    """Return the 404 of the machine learning resource provider."""
    return ArmError(404, "UserError", f"The specified resource was not found: {what}.", code)


class Server:
    """Serve `handle` with one thread per connection; `log` gets every (request, answer)."""

    def __init__(
        self,
        certificates: Certificates,
        handle: Callable[[Request], Answer],
        log: Callable[[Request, Answer], None],
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 120

            def _serve(self) -> None:
                request = _read(self)
                try:
                    answer = handle(request)
                except ArmError as refusal:
                    answer = refusal.answer()
                except Exception as error:
                    traceback.print_exc()
                    answer = ArmError(500, "StandInBroke", f"{type(error).__name__}: {error}").answer()
                log(request, answer)
                if answer is HANG_UP:
                    self.close_connection = True
                    return
                body, headers = answer.encoded()
                self.send_response(answer.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815 (http.server's names)

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, certificates.served))
        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        # Handshake in the connection's thread: a silent client must not block others.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = self._server.server_port
        self.url = f"https://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Ignore clients that close the connection."""


def _read(handler: BaseHTTPRequestHandler) -> Request:
    address = urlsplit(handler.path)
    headers = {name.lower(): value for name, value in handler.headers.items()}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _chunks(handler)
    else:
        body = handler.rfile.read(int(headers.get("content-length", 0)))
    query = dict(parse_qsl(address.query, keep_blank_values=True))
    return Request(handler.command, unquote(address.path), query, headers, body, address.query)


def _chunks(handler: BaseHTTPRequestHandler) -> bytes:
    parts = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(parts)
