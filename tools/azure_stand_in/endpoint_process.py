"""A process in place of a container, with a port, a log and probes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from azure_stand_in.launch import free_port

# Variables that a container inherits; others of this process could hide its errors.
_KEPT = ("HOME", "LANG", "TMPDIR", "KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "LOOKONCE_CACHE")
_TICK = 0.05
_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Command:
    """A command: `words` with {port} in place of the port; `inside` is the port inside the container."""

    words: Sequence[str]
    variables: Mapping[str, str]
    folder: Path
    inside: int
    ready: str
    live: str
    ready_port: int


class Container:
    """One instance of a deployment. `log` is kept after the process has exited."""

    def __init__(self, command: Command, log: Path) -> None:
        self.command, self.log = command, log
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._starting, self._lock = threading.Lock(), threading.Lock()
        self._ended = False

    def start(self) -> None:
        """Start the process without waiting; do nothing after `stop`."""
        with self._lock:
            if not self._ended:
                self._start()

    def _start(self) -> None:
        if self.process is not None:
            # A container stops as a whole; a process here may leave children behind.
            _signal(self.process.pid, signal.SIGKILL)
        self.port = free_port()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        surroundings = {name: os.environ[name] for name in _KEPT if name in os.environ}
        path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
        with self.log.open("ab") as said:
            self.process = subprocess.Popen(
                [word.replace("{port}", str(self.port)) for word in self.command.words],
                cwd=self.command.folder,
                env={**surroundings, "PATH": path, "PYTHONUNBUFFERED": "1", **self.command.variables},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self.process is not None and self.process.poll() is None

    def wait_ready(self, seconds: float) -> str:
        """Wait until the readiness route returns 200; return "", or the reason why it never will."""
        until, said = time.monotonic() + seconds, "no answer"
        while time.monotonic() < until:
            if not self.alive:
                code = self.process.returncode if self.process else None
                return f"User container has crashed or terminated: it exited with code {code}."
            said = self._probe(self.command.ready)
            if said == "200":
                return ""
            time.sleep(_TICK)
        return f"User container has crashed or terminated: Readiness probe failed: {said}."

    def healthy(self) -> bool:
        """Return whether the liveness route returns 200."""
        return self.alive and self._probe(self.command.live) == "200"

    def restart(self, seconds: float) -> None:
        """Restart a crashed process, as an orchestrator does; requests wait meanwhile."""
        with self._starting:
            if not self.alive:
                self.start()
                self.wait_ready(seconds)

    def stop(self) -> None:
        """Stop the process and its children."""
        with self._lock:
            self._ended, process = True, self.process
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)

    def _probe(self, path: str) -> str:
        """Return the status as text, or the error."""
        if self.command.ready_port != self.command.inside:
            return f"dial tcp 127.0.0.1:{self.command.ready_port}: connect: connection refused"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", path)
            return str(connection.getresponse().status)
        except (OSError, HTTPException) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            connection.close()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
