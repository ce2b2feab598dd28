"""A proxy that resolves names ending in `.localhost` to this machine.

Azure's SDK builds a storage account's address from its name, `https://ACCOUNT.blob.SUFFIX`, and the
C library of many systems doesn't resolve `*.localhost`. Every HTTP client that reads HTTPS_PROXY requests
a tunnel from this one instead; TLS goes through it end to end. An unknown name is refused and
recorded: tests reach nothing outside.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Mapping
from typing import Any

_AT_ONCE = 16 * 1024


class NameProxy:
    """Connect host names that end in a key of `places` to a port of 127.0.0.1.

    `strangers` holds refused names; `bytes_per_second` limits what clients send. `drops` tunnels
    break after `drop_after` bytes.
    """

    def __init__(self, places: Mapping[str, int]) -> None:
        self.strangers: list[str] = []
        self.bytes_per_second: float | None = None
        self.drops, self.drop_after = 0, 0
        proxy = self

        class Tunnel(socketserver.StreamRequestHandler):
            timeout = 120

            def handle(self) -> None:
                method, _, target = self.rfile.readline(4096).decode("latin-1").partition(" ")
                while self.rfile.readline(65536).strip():
                    pass
                host = target.split(" ")[0].rpartition(":")[0]
                port = next((port for ending, port in places.items() if host.endswith(ending)), None)
                if method != "CONNECT" or port is None:
                    proxy.strangers.append(host or target.strip())
                    self.wfile.write(b"HTTP/1.1 502 Nobody of that name here\r\nContent-Length: 0\r\n\r\n")
                    return
                with socket.create_connection(("127.0.0.1", port), 10) as behind:
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    back = threading.Thread(target=_pump, args=(behind, self.connection, None), daemon=True)
                    back.start()
                    _pump(self.connection, behind, proxy)
                    back.join()

        class Tunnels(socketserver.ThreadingTCPServer):
            daemon_threads = allow_reuse_address = True
            request_queue_size = 64

            def handle_error(self, *_: Any) -> None:
                """Ignore clients that close the connection."""

        self._server = Tunnels(("127.0.0.1", 0), Tunnel)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop accepting tunnels."""
        self._server.shutdown()
        self._server.server_close()


def _pump(source: socket.socket, target: socket.socket, slowed: NameProxy | None) -> None:
    sent = 0
    with contextlib.suppress(OSError):
        while part := source.recv(_AT_ONCE):
            target.sendall(part)
            sent += len(part)
            if slowed is not None and slowed.drops > 0 and sent > slowed.drop_after:
                slowed.drops -= 1
                source.shutdown(socket.SHUT_RDWR)
                return
            if slowed is not None and slowed.bytes_per_second:
                time.sleep(len(part) / slowed.bytes_per_second)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
