"""Services in containers of the local Docker engine: build, start, inspect, stop by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lookonce.deploy.local import responds, state_folder
from lookonce.errors import LookonceError
from lookonce.io.atomic import write_text

_ABOUT = "container.json"
_POLL_SECONDS, _READY_SECONDS, _QUICK_SECONDS, _BUILD_SECONDS = 0.2, 120.0, 60.0, 3600.0
_STOP_SECONDS = 40
_LAST_LINES = 15
_MOST_RESTARTS = 2


@dataclass(frozen=True)
class DockerService:
    """A service in a container as described by its file, which holds no key."""

    name: str
    url: str
    model: str
    image: str
    description: str
    created: str

    @property
    def container(self) -> str:
        """The container's name."""
        return f"lookonce-{self.name}"

    @property
    def folder(self) -> Path:
        """Folder of its description and its model."""
        return state_folder() / self.name

    @property
    def status(self) -> str:
        """ready, starting, another state of Docker's, or gone."""
        state, _ = _state(self.container)
        if state != "running":
            return state
        return "ready" if responds(self.url.removesuffix("/score") + "/ready") else "starting"


def check_engine() -> None:
    """Raise LookonceError where Docker is missing, or its engine does not respond."""
    done = _docker("version", "--format", "{{.Server.Version}}")
    if done.returncode:
        output = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise LookonceError(
            f"Docker's engine does not respond ({output[-1] if output else 'no message'}). Start it, or "
            "deploy without a container."
        )


def services() -> list[DockerService]:
    """Return all services that were deployed and not deleted, by name."""
    found = []
    for file in sorted(state_folder().glob(f"*/{_ABOUT}")):
        try:
            found.append(DockerService(**json.loads(file.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue
    return found


def build(context: Path, digest: str) -> str:
    """Build the image of a context, unless it exists; return its name. Raises LookonceError."""
    image = f"lookonce-serve:{digest}"
    if _docker("image", "inspect", image).returncode == 0:
        return image
    done = _docker("build", "--tag", image, str(context), seconds=_BUILD_SECONDS)
    if done.returncode:
        raise LookonceError(f"docker build failed. Last lines of its log:\n  {_tail(done)}")
    return image


def start(service: DockerService, host: str, port: int, environment: Mapping[str, str]) -> None:
    """Start the container and wait until it is ready. Raises LookonceError after removing one that fails.

    The model is `service.folder / "model"`; the key travels in the environment, never on a command line.
    """
    key = ["--env", "WEBSERVICE_KEY"] if environment.get("WEBSERVICE_KEY") else []
    where = f"[{host}]" if ":" in host else host
    done = _docker(
        "run",
        "--detach",
        *("--name", service.container),
        *("--label", f"lookonce.service={service.name}"),
        *("--restart", "unless-stopped"),
        "--read-only",
        *("--tmpfs", "/tmp"),
        *("--publish", f"{where}:{port}:8080"),
        *("--volume", f"{service.folder / 'model'}:/model:ro"),
        *key,
        service.image,
        *([] if key else ["--insecure"]),
        environment=environment,
    )
    if done.returncode:
        _docker("rm", "--force", service.container)
        raise LookonceError(f"docker run failed: {_tail(done)}")
    write_text(service.folder / _ABOUT, json.dumps(asdict(service), indent=1))
    until = time.monotonic() + _READY_SECONDS
    while not responds(service.url.removesuffix("/score") + "/ready"):
        state, restarts = _state(service.container)
        if state in ("exited", "dead", "gone") or restarts > _MOST_RESTARTS or time.monotonic() > until:
            output = "\n  ".join(last_lines(service, _LAST_LINES)) or "(no output)"
            stop(service)
            raise LookonceError(
                f"the container of {service.name} did not become ready ({state}). Last lines of its "
                f"log:\n  {output}"
            )
        time.sleep(_POLL_SECONDS)


def stop(service: DockerService) -> None:
    """Stop a service after in-flight requests finish, and delete its files. Raises LookonceError."""
    _docker("stop", "-t", str(_STOP_SECONDS), service.container, seconds=_STOP_SECONDS + _QUICK_SECONDS)
    done = _docker("rm", "--force", service.container)
    if done.returncode and "No such container" not in done.stderr:
        raise LookonceError(f"the container {service.container} cannot be removed: {_tail(done)}")
    shutil.rmtree(service.folder, ignore_errors=True)


def last_lines(service: DockerService, count: int) -> list[str]:
    """Return the last `count` lines of its log, both streams."""
    done = _docker("logs", "--tail", str(count), service.container)
    return (done.stdout + done.stderr).splitlines()[-count:]


def _state(container: str) -> tuple[str, int]:
    """Return Docker's state, or gone, and the number of restarts."""
    done = _docker("inspect", "--format", "{{.State.Status}} {{.RestartCount}}", container)
    state, _, restarts = done.stdout.strip().partition(" ")
    return (state or "gone", int(restarts)) if done.returncode == 0 and restarts.isdecimal() else ("gone", 0)


def _docker(
    *words: str, seconds: float = _QUICK_SECONDS, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["docker", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=dict(os.environ if environment is None else environment),
            check=False,
        )
    except FileNotFoundError as error:
        raise LookonceError(
            "docker is not installed, or not on the PATH. Install it, or deploy without a container."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LookonceError(f"docker {words[0]} did not finish within {seconds:.0f} seconds.") from error


def _tail(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.rstrip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return "\n  ".join(lines[-_LAST_LINES:]) or "(no output)"
