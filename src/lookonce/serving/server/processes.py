"""The service as processes: one, or several workers that share the port."""

from __future__ import annotations

import functools
import ipaddress
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors.multiprocess import Multiprocess

from lookonce.errors import LookonceError
from lookonce.serving.server.app import create_app
from lookonce.serving.server.connection import protocol_options
from lookonce.serving.server.served_model import load_model
from lookonce.serving.server.settings import Settings
from lookonce.serving.server.telemetry import log, start_log

_BACKLOG = 512
# Above the deadline of a request: whatever is inside is answered before the end.
_DRAIN_SECONDS_MORE = 5


def serve(
    settings: Settings, host: str, port: int, workers: int = 1, json_log: bool = True, insecure: bool = False
) -> int:
    """Serve until SIGTERM or Ctrl-C, then answer what is inside; returns the exit code.

    SIGHUP loads the model's files anew. Raises LookonceError for a model that can't be loaded, an address
    that can't be had, and one beyond this machine without a key.
    """
    if settings.key is None and not insecure and not _is_loopback(host):
        raise LookonceError(
            f"--host {host} can be reached from other machines, and there is no key. Set the variable that "
            "--key-env names (WEBSERVICE_KEY), or say --insecure where something in front asks for one."
        )
    if workers < 1:
        raise LookonceError(f"--workers is {workers}; expected 1 or more.")
    start_log(json_log)
    listener = _listen(host, port)
    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    # A line that scripts can wait for; the log goes to the error stream.
    print(f"lookonce: http://{shown}:{port}/ (Ctrl-C ends it)", flush=True)
    if workers > 1:
        return _serve_together(settings, listener, workers, json_log)
    return _serve_alone(settings, listener)


def _serve_alone(settings: Settings, listener: socket.socket) -> int:
    failures: list[str] = []

    def failed(message: str) -> None:
        failures.append(message)
        server.should_exit = True

    server = uvicorn.Server(_config(create_app(settings, failed=failed), settings))
    # uvicorn raises the signal again when it is done; by then all is answered, and the end is a good one.
    for wanted in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wanted, _nothing)
    server.run(sockets=[listener])
    if failures:
        raise LookonceError(failures[0])
    log("stopped")
    return 0


def _serve_together(settings: Settings, listener: socket.socket, workers: int, json_log: bool) -> int:
    # Each worker has a lane for every core, for connections are not spread evenly: one that got most of them
    # may use what the others leave.
    # Here, where it can still be told in one place; and a .keras file is converted once.
    load_model(settings)
    with tempfile.TemporaryDirectory(prefix="lookonce-metrics-") as folder:
        # Before the workers start: prometheus_client looks at it when it is imported.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        make = functools.partial(worker_app, settings, workers, json_log)
        config = _config(make, settings)
        config.workers, config.factory = workers, True
        _Workers(config, [listener], Path(folder)).run()
    log("stopped")
    return 0


def worker_app(settings: Settings, workers: int, json_log: bool) -> FastAPI:
    """The app of one worker process, which ends with its model's message if that can't be loaded."""
    start_log(json_log)

    def failed(message: str) -> None:
        print(f"lookonce: {message}", file=sys.stderr, flush=True)
        os.kill(os.getppid(), signal.SIGTERM)

    return create_app(settings, workers, failed)


class _Workers(Multiprocess):
    """uvicorn's supervisor; SIGHUP goes to the workers, which change models without ending a connection."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], metrics: Path) -> None:
        super().__init__(config, sockets)
        self._metrics = metrics

    def handle_hup(self) -> None:
        """Every worker loads the model anew."""
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, signal.SIGHUP)

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died, and forget what they were counting at that moment."""
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            log("worker replaced", 30, died=pid)
            for gauge in self._metrics.glob(f"gauge_live*_{pid}.db"):
                gauge.unlink(missing_ok=True)


def _config(app: object, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        backlog=_BACKLOG,
        lifespan="on",
        timeout_graceful_shutdown=int(settings.deadline_seconds) + _DRAIN_SECONDS_MORE,
        **protocol_options(),
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LookonceError(
            f"{host}:{port} can't be had: {reason}. Choose another --host or --port."
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _nothing(*_: object) -> None:
    """A signal that uvicorn has dealt with already."""
