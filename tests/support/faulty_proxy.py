"""A proxy between a client and a server that injects network and cloud failures."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Fault = tuple[str, Any]
"""("status", (code, headers)): respond; ("drop", None): close the connection; ("cut", n): after n bytes."""


class FaultyProxy:
    """Forward requests to `target`; `fault` maps (method, path, number) to a fault or None."""

    def __init__(self, target: str) -> None:
        self.fault: Callable[[str, str, int], Fault | None] = lambda method, path, number: None
        self.requests: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        address = urlsplit(target)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with proxy._lock:
                    proxy.requests.append((self.command, self.path))
                    number = len(proxy.requests)
                kind, detail = proxy.fault(self.command, self.path, number) or ("", None)
                if kind == "drop":
                    self.close_connection = True
                    self.connection.close()
                    return
                if kind == "status":
                    self._respond(detail[0], detail[1], b"")
                    return
                upstream = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
                upstream.request(self.command, self.path, body, dict(self.headers))
                response = upstream.getresponse()
                content = response.read()
                headers = [
                    (name, value)
                    for name, value in response.getheaders()
                    if name.lower() not in ("transfer-encoding", "connection", "content-length")
                ]
                length = response.getheader("Content-Length") if self.command == "HEAD" else len(content)
                self._respond(response.status, headers, content, detail if kind == "cut" else None, length)
                upstream.close()

            def _respond(
                self,
                status: int,
                headers: list[tuple[str, str]],
                content: bytes,
                cut: int | None = None,
                length: Any = None,
            ) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content) if length is None else length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[:cut])
                if cut is not None:
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.close()

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on  # noqa: N815 (http.server's names)

            def log_message(self, *_: Any) -> None:
                """Suppress the log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
