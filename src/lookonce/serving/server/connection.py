"""HTTP connections that don't wait for ever: headers must arrive in time, and connections are counted."""

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
    b'{"error":"too many connections; ask again."}\n'
)


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol on h11, which bounds headers and refuses what is ambiguous in them."""

    _impatience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection: it has HEADER_SECONDS for its first request's headers."""
        super().connection_made(transport)
        # asyncio does this only for sockets made with their protocol named. Without it, headers and body go
        # out as two packets, and the second waits 40 ms for the client to acknowledge the first.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.write(_FULL)
            transport.close()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        self._relax()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes: of headers still incomplete, of a body, or of the next request."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._relax()
        elif self._impatience is None:
            # The first bytes of a further request: uvicorn has just stopped its own clock.
            self._wait()

    def on_response_complete(self) -> None:
        """The client may begin its next request."""
        self._relax()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Malformed HTTP; h11 knows whether an answer is still possible."""
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.close()

    def _wait(self) -> None:
        self._impatience = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _relax(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None


def protocol_options() -> dict[str, Any]:
    """What uvicorn.Config must be told to use this protocol."""
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
