"""Run the service: one process, or several workers that share the port."""

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
# Added to a request's deadline on shutdown, so that in-flight requests can finish.
_DRAIN_SECONDS_MORE = 5


def serve(
    settings: Settings, host: str, port: int, workers: int = 1, json_log: bool = True, insecure: bool = False
) -> int:
    """Serve until SIGTERM or Ctrl-C, finish in-flight requests, and return the exit code.

    SIGHUP reloads the model's files. Raises LookonceError if the model cannot be loaded, if the address
    cannot be bound, and for an address reachable from other machines without a key (unless `insecure`).
    """
    if settings.key is None and not insecure and not _is_loopback(host):
        raise LookonceError(
            f"--host {host} is reachable from other machines, and no key is set. Set the variable that "
            "--key-env names (WEBSERVICE_KEY), or pass --insecure if a proxy in front authenticates clients."
        )
    if workers < 1:
        raise LookonceError(f"--workers is {workers}; expected 1 or more.")
    start_log(json_log)
    listener = _listen(host, port)
    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    # A line that scripts can wait for; the log goes to stderr.
    print(f"lookonce: http://{shown}:{port}/ (Ctrl-C to stop)", flush=True)
    if workers > 1:
        return _serve_together(settings, listener, workers, json_log)
    return _serve_alone(settings, listener)


def _serve_alone(settings: Settings, listener: socket.socket) -> int:
    failures: list[str] = []

    def failed(message: str) -> None:
        failures.append(message)
        server.should_exit = True

    server = uvicorn.Server(_config(create_app(settings, failed=failed), settings))
    # uvicorn raises the signal again after its shutdown; the process must still exit with 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ignore_signal)
    server.run(sockets=[listener])
    if failures:
        raise LookonceError(failures[0])
    log("stopped")
    return 0


def _serve_together(settings: Settings, listener: socket.socket, workers: int, json_log: bool) -> int:
    # Each worker has a lane for every core: connections are not spread evenly, and a worker that got most of
    # them can use the cores that the others leave idle.
    # Loaded here first, so that an error is reported once and a .keras file is converted once.
    load_model(settings)
    with tempfile.TemporaryDirectory(prefix="lookonce-metrics-") as folder:
        # Before the workers start: prometheus_client reads it on import.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        factory = functools.partial(worker_app, settings, workers, json_log)
        config = _config(factory, settings)
        config.workers, config.factory = workers, True
        _Workers(config, [listener], Path(folder)).run()
    log("stopped")
    return 0


def worker_app(settings: Settings, workers: int, json_log: bool) -> FastAPI:
    """Create the app of one worker process; a model that cannot be loaded stops all workers."""
    start_log(json_log)

    def failed(message: str) -> None:
        print(f"lookonce: {message}", file=sys.stderr, flush=True)
        os.kill(os.getppid(), signal.SIGTERM)

    return create_app(settings, workers, failed)


class _Workers(Multiprocess):
    """uvicorn's supervisor; SIGHUP reloads the model in each worker without dropping connections."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], metrics: Path) -> None:
        super().__init__(config, sockets)
        self._metrics = metrics

    def handle_hup(self) -> None:
        """Tell every worker to reload the model."""
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, signal.SIGHUP)

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died; drop their live gauges."""
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
            f"cannot bind to {host}:{port}: {reason}. Choose another --host or --port."
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _ignore_signal(*_: object) -> None:
    """Ignore a signal that uvicorn has already handled."""
