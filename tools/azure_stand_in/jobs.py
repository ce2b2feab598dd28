"""Run command jobs as processes, with code and data from storage, and logs that grow there."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import isodate

from azure_stand_in.addresses import Addresses
from azure_stand_in.job_folder import JobFolder
from azure_stand_in.launch import node, processes
from azure_stand_in.resources import Resources
from azure_stand_in.storage import ARTIFACTS, Storage
from azure_stand_in.wire import ArmError

_TICK = 0.1
_GRACE_SECONDS = 5.0
# As in Azure, a job without a limit of its own may run for a week.
_MOST_SECONDS = 7 * 24 * 3600.0


class Jobs:
    """Run the workspace's jobs; each has a thread, and its state is in the job's resource.

    `variables(name, job)` returns the variables that the service adds. `status_changed(name, status)` is
    called at every change. A job is queued as long as it `waits`. `image_build` may raise ArmError.
    """

    def __init__(
        self,
        folder: Path,
        resources: Resources,
        storage: Storage,
        addresses: Addresses,
        trust: Mapping[str, str],
    ) -> None:
        self._folder, self._trust = folder, trust
        self._resources, self._storage, self._addresses = resources, storage, addresses
        self._running: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._canceled: set[str] = set()
        self._preempted: set[str] = set()
        self._room = threading.Semaphore(4)
        self.errors: dict[str, dict[str, Any]] = {}
        self.variables: Callable[[str, dict[str, Any]], dict[str, str]] = lambda name, job: {}
        self.status_changed: Callable[[str, str], None] = lambda name, status: None
        self.waits: Callable[[str], bool] = lambda name: False
        self.image_build: Callable[[str], None] = lambda name: None
        self.at_start: Callable[[str], None] = lambda name: None

    def start(self, name: str) -> None:
        """Queue a new job."""
        threading.Thread(target=self._run, args=(name,), daemon=True, name=f"job-{name}").start()

    def cancel(self, name: str) -> None:
        """Stop the processes of a job and wait until it is canceled; do nothing for one that has ended."""
        if self.status(name) in ("Completed", "Failed", "Canceled"):
            return
        self._canceled.add(name)
        self._set(name, "CancelRequested")
        self._signal(name, signal.SIGTERM)
        self.wait(name, _GRACE_SECONDS)
        self._signal(name, signal.SIGKILL)
        self.wait(name, _GRACE_SECONDS)

    def preempt(self, name: str) -> None:
        """Take the node away without notice; the job is queued again and restarts on another one."""
        self._preempted.add(name)
        self._signal(name, signal.SIGKILL)

    def status(self, name: str) -> str:
        """Return the job's current state."""
        return str(self._resources.get(f"jobs/{name}")["properties"]["status"])

    def wait(self, name: str, seconds: float = 600.0) -> str:
        """Wait until the job has ended, or so many seconds; return its state."""
        until = time.monotonic() + seconds
        while (now := self.status(name)) not in (
            "Completed",
            "Failed",
            "Canceled",
        ) and time.monotonic() < until:
            time.sleep(_TICK / 2)
        return now

    def close(self) -> None:
        """Kill running jobs."""
        for name in list(self._running):
            self._canceled.add(name)
            self._signal(name, signal.SIGKILL)

    def _run(self, name: str) -> None:
        try:
            with self._room:
                while not self._once(name):
                    self._set(name, "Queued")
        except ArmError as error:
            self._fail(name, error.code, error.message, error.detail)
        except Exception as error:
            traceback.print_exc()
            self._fail(name, "SystemError", f"{type(error).__name__}: {error}")

    def _once(self, name: str) -> bool:
        """Run the job on one node; return False if the node was taken away."""
        job = self._resources.get(f"jobs/{name}")["properties"]
        while self.waits(name) and name not in self._canceled:
            time.sleep(_TICK)
        if name in self._canceled:
            self._set(name, "Canceled")
            return True
        self._set(name, "Preparing")
        self.image_build(name)
        place = JobFolder(self._folder / name, name, job, self._storage, self._addresses)
        place.fill()
        self.at_start(name)
        codes = self._processes(name, job, place)
        if name in self._preempted and name not in self._canceled:
            self._preempted.discard(name)
            place.save(ended=False)
            return False
        self._set(name, "Finalizing")
        place.save(ended=True)
        if name in self._canceled:
            self._set(name, "Canceled")
        elif any(codes):
            code = next(code for code in codes if code)
            log = place.folder / _log_name(
                next(number for number, one in enumerate(codes) if one), len(codes)
            )
            last = log.read_text(errors="replace")[-300:]
            text = f"Execution failed. User process exited with status code {code}. Please check log file "
            self._fail(
                name, "UserError", f"{text}'{log.relative_to(place.folder)}' for error details. Error: {last}"
            )
        else:
            self._set(name, "Completed")
        return True

    def _processes(self, name: str, job: dict[str, Any], place: JobFolder) -> list[int]:
        """Start all processes, upload their logs while they run, and return their exit codes."""
        command = place.command()
        count = (job.get("resources") or {}).get("instanceCount") or 1
        started = processes(job.get("distribution"), count)
        surroundings = {
            **node(self._trust),
            **place.variables(),
            **self.variables(name, job),
            **{key: str(value) for key, value in (job.get("environmentVariables") or {}).items()},
        }
        logs = [place.folder / _log_name(number, len(started)) for number in range(len(started))]
        logs[0].parent.mkdir(parents=True, exist_ok=True)
        running = self._running[name] = []
        for mine, log in zip(started, logs, strict=True):
            with log.open("wb") as said:
                running.append(
                    subprocess.Popen(
                        ["bash", "-c", command],
                        cwd=place.code,
                        env={**surroundings, **mine},
                        stdin=subprocess.DEVNULL,
                        stdout=said,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        self._set(name, "Running")
        self._follow(name, running, logs, place, (job.get("limits") or {}).get("timeout"))
        del self._running[name]
        return [process.returncode for process in running]

    def _follow(
        self, name: str, running: list[Any], logs: list[Path], place: JobFolder, timeout: str | None
    ) -> None:
        sent = dict.fromkeys(logs, -1)
        until = time.monotonic() + (_seconds(timeout) if timeout else _MOST_SECONDS)
        while True:
            alive = any(process.poll() is None for process in running)
            for log in logs:
                content = log.read_bytes()
                if len(content) > sent[log]:
                    self._storage.write(
                        ARTIFACTS, f"{place.artifacts}/{log.relative_to(place.folder)}", content
                    )
                    sent[log] = len(content)
            if not alive:
                return
            # A failed process stops the others, as with the launcher; so does the job's time limit.
            if any(process.poll() for process in running) or time.monotonic() > until:
                self._signal(name, signal.SIGKILL)
            if name in self._canceled:
                self._signal(name, signal.SIGTERM)
            time.sleep(_TICK)

    def _signal(self, name: str, number: signal.Signals) -> None:
        for process in self._running.get(name, []):
            if process.poll() is None:
                os.killpg(process.pid, number)

    def _set(self, name: str, status: str) -> None:
        if name in self._canceled and status in ("Queued", "Preparing", "Running"):
            return
        # End the run first: clients that wait for the job's state expect it to have ended.
        self.status_changed(name, status)
        self._resources.change(f"jobs/{name}", status=status)

    def _fail(self, name: str, code: str, message: str, detail: str = "") -> None:
        error: dict[str, Any] = {"code": code, "message": message, "details": []}
        if detail:
            error["innerError"] = {"code": "BadArgument", "innerError": {"code": detail, "innerError": None}}
        self.errors[name] = {"error": error}
        self._set(name, "Failed")


def _log_name(number: int, of: int) -> str:
    return "user_logs/std_log.txt" if of == 1 else f"user_logs/std_log_process_{number:02d}.txt"


def _seconds(duration: str) -> float:
    """Parse a duration such as "PT5M", the SDK's format of a job's time limit."""
    return float(isodate.parse_duration(duration).total_seconds())
