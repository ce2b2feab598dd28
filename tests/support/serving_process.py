"""`lookonce serve` as a separate process."""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

import httpx

RUN = [sys.executable, "-m", "lookonce"]


class Serving:
    """A running service: `url`, `port`, `process` and its `log` file."""

    def __init__(self, folder: Path, *arguments: str | Path, env: dict[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "serve.log"
        self._stdout = folder / "serve.out"
        clean = {key: value for key, value in os.environ.items() if key != "WEBSERVICE_KEY"}
        with self.log.open("wb") as errors, self._stdout.open("wb") as output:
            self.process = subprocess.Popen(
                [*RUN, "serve", *map(str, arguments), "--port", "0"],
                stdout=output,
                stderr=errors,
                env={**clean, **(env or {})},
            )
        self.url = self._wait(lambda: re.search(r"http://\S+", self._stdout.read_text()))[0].rstrip("/")
        self.port = int(self.url.rpartition(":")[2])
        self._wait(self._is_ready)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def _wait(self, condition, seconds: float = 60):
        until = time.monotonic() + seconds
        while not (value := condition()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)
        return value

    def stop(self, seconds: float = 40) -> int:
        """Stop with SIGTERM; return the exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def __enter__(self) -> Serving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def fastest(shared: Path) -> list[str | Path]:
    """Return the arguments for the smallest model with COCO's classes, with plain NMS."""
    folder = shared / "weights"
    published = folder / "yolo-fastest" / "yolo-fastest-1.1.cfg"
    names = folder / "cfg" / "coco.names"
    return [_with_plain_nms(published), "--weights", published.with_suffix(".weights"), "--classes", names]


@functools.cache
def _with_plain_nms(published: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="lookonce-test-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    cfg = folder / published.name
    cfg.write_text(published.read_text().replace("nms_kind=greedynms", "nms_kind=default"))
    return cfg
