"""Progress of a training: a bar with loss, mAP and time left, and one line per epoch."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Print to `console`, nothing if `quiet`; the live bar shows on a terminal only. Use as a context manager."""

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or Console(highlight=False, quiet=quiet)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  mAP {task.fields[score]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=None, loss="-", score="-")
        self._started = time.monotonic()
        self._steps = self._total = self._epoch_steps = 0

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print one line above the bar."""
        self._bar.console.print(text, soft_wrap=True, markup=False)

    def show(self, renderable: Any) -> None:
        """Print a table or the like above the bar."""
        self._bar.console.print(renderable)

    def epoch_started(self, epoch: int, epochs: int, steps: int) -> None:
        """Start the bar of an epoch, counted from 1, with `steps` batches."""
        self._started, self._epoch_steps = time.monotonic(), steps
        self._bar.update(
            self._task,
            description=f"epoch {epoch}/{epochs}",
            total=epochs * steps,
            completed=(epoch - 1) * steps,
        )

    def step_done(self, loss: float) -> None:
        """Advance the bar by one batch; `loss` is the epoch's mean so far."""
        self._bar.update(self._task, advance=1, loss=f"{loss:.2f}")

    def epoch_done(self, row: dict[str, Any], best: bool) -> None:
        """Print the epoch's line of metrics.csv; `best` marks the best epoch so far."""
        seconds = time.monotonic() - self._started
        if "val_map" in row:
            self._bar.update(self._task, score=f"{row['val_map']:.3f}")
        values = "  ".join(
            f"{key} {value:.4f}"
            for key, value in row.items()
            if isinstance(value, float) and key != "learning_rate"
        )
        self.say(f"epoch {row['epoch']:3d}  {values}  {seconds:.0f} s{'  best' if best else ''}")
