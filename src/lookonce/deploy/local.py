"""Services in the background of this machine: start one under a supervisor, list, stop by name."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from lookonce.errors import LookonceError
from lookonce.io.atomic import write_text

# Azure's rule for endpoints, so that a service can move there under its name.
_NAME = re.compile(r"[a-zA-Z](?:[a-zA-Z0-9-]{1,30})[a-zA-Z0-9]\Z")
_READY_SECONDS, _STOP_SECONDS = 120.0, 60.0
_POLL_SECONDS, _GUARD_SECONDS = 0.2, 60.0
_LAST_LINES = 15


@dataclass(frozen=True)
class LocalService:
    """A deployed service as described by its file, which holds no key."""

    name: str
    url: str
    ready_url: str
    model: str
    command: list[str]
    description: str
    created: str
    pid: int = 0

    @property
    def folder(self) -> Path:
        """Folder of its description, lock and log."""
        return state_folder() / self.name

    @property
    def running(self) -> bool:
        """Whether its supervisor is alive: it holds the service's lock."""
        with FileLock(self.folder / "lock.guard", timeout=_GUARD_SECONDS):
            lock = _acquire_if_free(self.folder)
            if lock is not None:
                lock.release()
        return lock is None

    @property
    def status(self) -> str:
        """ready, starting or stopped."""
        if not self.running:
            return "stopped"
        return "ready" if responds(self.ready_url) else "starting"


def acquire_lock(folder: Path) -> BaseFileLock | None:
    """Return the lock of a service, held, or None where another supervisor holds it.

    Each attempt at the lock holds a guard, so that a listing that probes the lock never makes a supervisor
    believe that another one runs.
    """
    with FileLock(folder / "lock.guard", timeout=_GUARD_SECONDS):
        return _acquire_if_free(folder)


def _acquire_if_free(folder: Path) -> BaseFileLock | None:
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def state_folder() -> Path:
    """Return the folder in LOOKONCE_STATE, else the user's folder for state."""
    if named := os.environ.get("LOOKONCE_STATE"):
        return Path(named) / "services"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "lookonce" / "services"
    return (
        Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "lookonce" / "services"
    )


def check_name(name: str) -> None:
    """Raise LookonceError for a name that Azure would refuse."""
    if not _NAME.match(name):
        raise LookonceError(
            f"{name[:60]!r} is not a service name; expected 3 to 32 letters, digits and hyphens, with a "
            "letter first and no hyphen last."
        )


def services() -> list[LocalService]:
    """Return all services that were deployed and not deleted, by name."""
    found = []
    for file in sorted(state_folder().glob("*/service.json")):
        try:
            found.append(LocalService(**json.loads(file.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue
    return found


def find(name: str) -> LocalService:
    """Return the service of this name. Raises LookonceError where there is none."""
    known = services()
    for one in known:
        if one.name == name:
            return one
    has = ", ".join(one.name for one in known) or "none"
    raise LookonceError(f"no service {name!r} on this machine; it has {has}.")


def free_port(host: str, port: int) -> int:
    """Return `port` if it can be bound, or a free port for 0. Raises LookonceError."""
    try:
        with socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        ) as probe:
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LookonceError(f"cannot bind to {host}:{port}: {reason}. Choose another port.") from error


def start(service: LocalService, environment: Mapping[str, str]) -> LocalService:
    """Start a service and wait until it is ready. Raises LookonceError after stopping one that fails."""
    check_name(service.name)
    folder = service.folder
    folder.mkdir(parents=True, exist_ok=True)
    if service.running:
        raise LookonceError(
            f"service {service.name} is already running at {find(service.name).url}. Delete it first: "
            f"lookonce deploy delete {service.name}"
        )
    write_text(folder / "service.json", json.dumps(asdict(service), indent=1))
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "lookonce.deploy.supervisor", str(folder)],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Closing a terminal stops the processes of its session.
        start_new_session=True,
    )
    until = time.monotonic() + _READY_SECONDS
    while not responds(service.ready_url):
        exited = supervisor.poll() is not None
        if exited or time.monotonic() > until:
            if not exited:
                stop(service)
            why = "exited" if exited else f"was not ready within {_READY_SECONDS:.0f} seconds"
            output = "\n  ".join(last_lines(service, _LAST_LINES)) or "(no output)"
            raise LookonceError(f"service {service.name} {why}. Last lines of its log:\n  {output}")
        time.sleep(_POLL_SECONDS)
    return find(service.name)


def stop(service: LocalService) -> None:
    """Stop a service after in-flight requests finish; do nothing if it is stopped. Raises LookonceError."""
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        try:
            pid = int((service.folder / "pid").read_text())
        except (OSError, ValueError):
            return
        if not service.running:
            return
        try:
            # The supervisor and its service share a process group.
            os.killpg(pid, number) if number != signal.SIGTERM and hasattr(os, "killpg") else os.kill(
                pid, number
            )
        except ProcessLookupError:
            return
        until = time.monotonic() + _STOP_SECONDS
        while service.running and time.monotonic() < until:
            time.sleep(_POLL_SECONDS / 4)
    if service.running:
        raise LookonceError(f"service {service.name} cannot be stopped; its log: {service.folder / 'log'}")


def last_lines(service: LocalService, count: int) -> list[str]:
    """Return the last `count` lines of its log."""
    try:
        with (service.folder / "log").open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 400 * count - 4096))
            return log.read().decode("utf-8", "replace").splitlines()[-count:]
    except OSError:
        return []


def responds(url: str) -> bool:
    """Return whether a GET request to `url` returns 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def serve_command(model: Path, host: str, port: int, more: Sequence[str]) -> list[str]:
    """Return the command line of `lookonce serve`."""
    where = ["--host", host, "--port", str(port), "--log", "json"]
    return [sys.executable, "-m", "lookonce", "serve", str(model), *where, *more]


def describe(name: str, model: Path, command: list[str], host: str, port: int, **texts: Any) -> LocalService:
    """Return the description of the service that `command` runs at host and port."""
    reached = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    base = f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    ready = base + texts.pop("ready", "/ready")
    return LocalService(name, f"{base}/score", ready, str(model), command, created=created, **texts)
