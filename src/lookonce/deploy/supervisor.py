"""The process that supervises one service: `python -m lookonce.deploy.supervisor FOLDER`.

It holds the folder's lock, writes its process id to `pid` and the service's output to `log`, restarts the
service when it crashes, and exits on SIGTERM, or when the service keeps crashing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from lookonce.deploy.local import acquire_lock

_MOST_LOG_BYTES = 20 * 2**20
# Starts of a service that was never up for this long.
_STEADY_SECONDS, _MOST_STARTS = 60.0, 5
_LONGEST_WAIT_SECONDS = 10.0
# Exit codes that a restart does not change: success, invalid input, usage.
_FINAL = (0, 1, 2)


def main(folder: Path) -> int:
    """Supervise the service; return its last exit code."""
    lock = acquire_lock(folder)
    if lock is None:
        return 1
    (folder / "pid").write_text(str(os.getpid()))
    try:
        return _Supervisor(folder).run()
    finally:
        (folder / "pid").unlink(missing_ok=True)
        lock.release()


class _Supervisor:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._command: list[str] = json.loads((folder / "service.json").read_text(encoding="utf-8"))[
            "command"
        ]
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, self._reload)

    def run(self) -> int:
        starts, code = 0, 0
        while not self._stopping:
            begun = time.monotonic()
            with self._log() as log:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
                # Stopped while the service was being started.
                if self._stopping:
                    self._process.terminate()
                code = self._process.wait()
            starts = 1 if time.monotonic() - begun > _STEADY_SECONDS else starts + 1
            if self._stopping or code in _FINAL or starts >= _MOST_STARTS:
                break
            self._note(f"exited with {code}; start {starts + 1}")
            self._sleep(min(_LONGEST_WAIT_SECONDS, 0.5 * 2 ** (starts - 1)))
        return code

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def _reload(self, number: int, frame: FrameType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGHUP)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < until:
            time.sleep(0.05)

    def _log(self) -> BinaryIO:
        path = self._folder / "log"
        if path.exists() and path.stat().st_size > _MOST_LOG_BYTES:
            os.replace(path, path.with_name("log.1"))
        return path.open("ab")

    def _note(self, text: str) -> None:
        with self._log() as log:
            log.write(f"lookonce: the service {text}\n".encode())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
