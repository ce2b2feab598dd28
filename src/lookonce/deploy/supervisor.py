"""The process that watches over one service: `python -m lookonce.deploy.supervisor FOLDER`.

It holds the folder's lock while it lives, writes its own process id to `pid` and what the service says to
`log`, starts the service again when it dies, and ends when told to, or when the service keeps dying.
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
# Of a service that has never been up for so long, as many starts are tried.
_STEADY_SECONDS, _MOST_STARTS = 60.0, 5
_LONGEST_WAIT_SECONDS = 10.0
# Ended as told, or for a reason that another start doesn't fix: the input is at fault, or the command.
_FINAL = (0, 1, 2)


def main(folder: Path) -> int:
    """Watch until the end; the exit code is the service's last."""
    lock = acquire_lock(folder)
    if lock is None:
        return 1
    (folder / "pid").write_text(str(os.getpid()))
    try:
        return _Watch(folder).run()
    finally:
        (folder / "pid").unlink(missing_ok=True)
        lock.release()


class _Watch:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._command: list[str] = json.loads((folder / "service.json").read_text(encoding="utf-8"))[
            "command"
        ]
        self._ending = False
        self._process: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, self._reload)

    def run(self) -> int:
        starts, code = 0, 0
        while not self._ending:
            begun = time.monotonic()
            with self._log() as log:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
                # Told to end while it was being started.
                if self._ending:
                    self._process.terminate()
                code = self._process.wait()
            starts = 1 if time.monotonic() - begun > _STEADY_SECONDS else starts + 1
            if self._ending or code in _FINAL or starts >= _MOST_STARTS:
                break
            self._note(f"ended with {code}; start {starts + 1}")
            self._sleep(min(_LONGEST_WAIT_SECONDS, 0.5 * 2 ** (starts - 1)))
        return code

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def _reload(self, number: int, frame: FrameType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGHUP)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._ending and time.monotonic() < until:
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
