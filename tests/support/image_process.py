"""Run the Dockerfile's build stage and entry point on this machine, without an engine.

If the kernel permits, the service runs as in a container: process 1, unprivileged user, read-only root.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
# Separate from this machine's.
USER_ID = 10001
# Separate process and mount namespaces, a read-only root, and another user.
WALLS = [
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("sh", "-c", 'mount -o remount,bind,ro / && exec "$@"', "sh"),
    *("setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups", "--no-new-privs"),
]


def instructions() -> list[tuple[str, str]]:
    """Return (NAME, rest) of each instruction, with continued lines joined."""
    lines = [line for line in TEXT.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines()]


def rest_of(name: str) -> str:
    (rest,) = [rest for one, rest in instructions() if one == name]
    return rest


def variables() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(rest_of("ENV")))


@cache
def interpreter() -> str:
    """Return a Python that any user may run; the tests' own may be in a private home."""
    for program in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        place = Path(program).resolve()
        fits = [
            program,
            "-c",
            "import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))",
        ]
        if (
            all(folder.stat().st_mode & 0o001 for folder in place.parents)
            and place.exists()
            and subprocess.run(fits, capture_output=True, check=False).returncode == 0
        ):
            return program
    return sys.executable


@cache
def walled() -> bool:
    """Return whether this machine permits the isolation, with an accessible interpreter."""
    try:
        return subprocess.run([*WALLS, interpreter(), "-V"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@dataclass
class Image:
    """Run the build stage in `folder`, with its virtual environment in `programs`."""

    folder: Path
    programs: Path

    def start(self, port: int, model: Path, *more: str, **env: str) -> subprocess.Popen[str]:
        """Start the entry point with the image's environment variables."""
        command = [word.replace("8080", str(port)) for word in json.loads(rest_of("ENTRYPOINT"))]
        program = self.programs / "bin" / command[0]
        return subprocess.Popen(
            [*(WALLS if walled() else []), program, *command[1:], *more],
            cwd="/",
            env=self.environment(AZUREML_MODEL_DIR=str(model), **env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def healthy(self, port: int) -> int:
        """Run the health check; return its exit code."""
        command = json.loads(rest_of("HEALTHCHECK").partition("CMD ")[2])
        assert command[0] == "python"
        words = [self.programs / "bin" / "python", *(word.replace("8080", str(port)) for word in command[1:])]
        # A proxy that does not exist: the check concerns this container only.
        env = self.environment(http_proxy="http://127.0.0.1:9")
        return subprocess.run(words, env=env, capture_output=True, check=False).returncode

    def environment(self, **more: str) -> dict[str, str]:
        named = variables()
        named["PATH"] = (
            named["PATH"]
            .replace("/opt/lookonce", str(self.programs))
            .replace("$PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        )
        return {**named, **more}


def open_to_all(folder: Path) -> None:
    """Make a temporary folder and its parents accessible to other users."""
    top = Path(tempfile.gettempdir()).resolve()
    for place in (folder.resolve(), *folder.resolve().parents[:4]):
        if place == top or place.stat().st_uid != os.getuid() or place == place.parent:
            return
        place.chmod(place.stat().st_mode | 0o055)


def build(folder: Path) -> Image:
    """Run the Dockerfile's commands in `folder`."""
    open_to_all(folder)
    built = Image(folder / "context", folder / "programs")
    built.folder.mkdir()
    for name, rest in instructions():
        if name == "COPY" and "--from" not in rest:
            *sources, target = rest.split()
            for source in sources:
                place = built.folder / target / (source if target.endswith("/") else "")
                if (ROOT / source).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
                    shutil.copytree(ROOT / source, place, ignore=ignored)
                else:
                    shutil.copy(ROOT / source, place)
    command = rest_of("RUN").replace("/opt/lookonce", str(built.programs))
    (folder / "base").mkdir()
    # A script, not a link: through a link, Python would not detect its virtual environment.
    python = folder / "base" / "python"
    python.write_text(f'#!/bin/sh\nexec "{interpreter()}" "$@"\n')
    python.chmod(0o755)
    env = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}
    # The cache saves minutes and does not affect the result.
    done = subprocess.run(
        command.replace("--no-cache-dir ", ""),
        shell=True,
        cwd=built.folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return built


def wait_ready(process: subprocess.Popen[str], port: int) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.1)


def main_process(process: subprocess.Popen[str]) -> int:
    """Return the id of the isolated service process."""
    if not walled():
        return process.pid
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def end(process: subprocess.Popen[str]) -> None:
    """Kill the process; an isolated process outlives the one that started it."""
    if process.poll() is None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.kill(main_process(process), signal.SIGKILL)
        process.kill()
    process.wait()
