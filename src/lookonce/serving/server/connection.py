"""Bounded HTTP connections: a time limit for headers, a limit on open connections."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
MOST_CONNECTIONS = 512
MOST_HEADER_BYTES = 32 * 1024
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 45\r\n\r\n"
    b'{"error":"too many connections; try again."}\n'
)


class BoundedProtocol(H11Protocol):
    """uvicorn's h11 protocol, with a deadline for headers and a limit on connections."""

    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the header deadline of a new connection, or refuse it when there are too many."""
        super().connection_made(transport)
        # asyncio sets this only on sockets created with an explicit protocol. Without it, headers and body
        # leave as two packets, and the second waits 40 ms for the client to acknowledge the first.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.write(_FULL)
            transport.close()
            return
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the header deadline."""
        self._stop_header_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed received bytes to the parser; restart or cancel the header deadline accordingly."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_header_timer()
        elif self._header_timer is None:
            # The first bytes of another request: uvicorn has just stopped its keep-alive timer.
            self._start_header_timer()

    def on_response_complete(self) -> None:
        """Cancel the header deadline; the client may send its next request."""
        self._stop_header_timer()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Reply to malformed HTTP; close the connection if a response is no longer possible."""
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.close()

    def _start_header_timer(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


def protocol_options() -> dict[str, Any]:
    """Return the uvicorn.Config arguments that select this protocol."""
    return {
        "http": BoundedProtocol,
        "h11_max_incomplete_event_size": MOST_HEADER_BYTES,
        "ws": "none",
        # Longer than the idle time of common proxies, so that they close first.
        "timeout_keep_alive": 75,
        "server_header": False,
        "access_log": False,
        "log_config": None,
    }
