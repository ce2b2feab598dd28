"""Print the stages of a long command: one line per stage when it is done, with its duration."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Stage:
    """One stage; `result` is the text of its line once it is done."""

    def __init__(self, result: str) -> None:
        self.result = result


class Stages:
    """Print stages to `out`, or to the output stream; on a terminal with a clock for the running one.

    Attributes:
        going_on: what the cloud continues with if this process stops now; empty for nothing.
        left: what exists in the cloud if this process stops now; empty for nothing.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        # Bind the stream now: sys.stdout is redirected while the SDK runs.
        self._console = Console(file=out or sys.stdout, highlight=False, soft_wrap=True)
        self.going_on = self.left = ""

    @contextmanager
    def stage(self, doing: str, in_cloud: str = "") -> Iterator[Stage]:
        """Run the body as one stage; keep `in_cloud` in `going_on` meanwhile, and after a Ctrl-C."""
        begun = time.monotonic()
        stage = Stage(doing)
        self.going_on = in_cloud
        with self._clock(doing):
            try:
                yield stage
            except Exception:
                self.going_on = ""
                raise
        self.going_on = ""
        self.say(f"{stage.result} ({_duration(time.monotonic() - begun)})")

    def say(self, text: str) -> None:
        """Print a line of its own."""
        self._console.print(text, markup=False)

    @contextmanager
    def _clock(self, doing: str) -> Iterator[None]:
        if not self._console.is_terminal:
            yield
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(
            *columns,
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as progress:
            progress.add_task(doing, total=None)
            yield


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"
