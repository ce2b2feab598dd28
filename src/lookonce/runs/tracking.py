"""MLflow tracking of a training: queued, and given up when the store fails; training never waits."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lookonce.io.atomic import write_text
from lookonce.models.mlflow_store import files_folder, open_client, store_address

if TYPE_CHECKING:
    from mlflow import MlflowClient

_END_SECONDS = 60.0
_LONGEST_VALUE = 500
_IMAGES = ("curves.png", "pr.png", "confusion.png", "anchors.png", "best.png", "worst.png")
_TEXTS = (
    "metrics.csv",
    "report.html",
    "run.json",
    "model.cfg",
    "custom_anchors.txt",
    "custom_classes.txt",
    "split.json",
)

Job = Callable[["MlflowClient", str], None]


class NoTracking(AbstractContextManager["NoTracking"]):
    """The interface of Tracking for runs that are not tracked."""

    def begin(self, params: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
        """Do nothing."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Do nothing."""

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


class Tracking:
    """One run in MLflow. Everything is queued and sent by a thread; the first failure is reported once.

    Args:
        out: the run's folder; without MLFLOW_TRACKING_URI the store is `mlflow.db` beside it.
        experiment: its name there.
        say: called with each line for the user.
        resume: continue the run of `out`.
    """

    def __init__(self, out: Path, experiment: str, say: Callable[[str], None], resume: bool = False) -> None:
        self._out, self._experiment, self._say = out, experiment, say
        self._address = store_address(out.resolve().parent)
        self._note = out / "last" / "tracking.json"
        self._resume = resume
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def begin(self, params: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
        """Log the run's settings, and the fingerprints of its data and machine."""

        def send(client: MlflowClient, run: str) -> None:
            from mlflow.entities import Param, RunTag

            client.log_batch(
                run,
                params=[Param(name, str(value)[:_LONGEST_VALUE]) for name, value in params.items()],
                tags=[RunTag(name, str(value)[:_LONGEST_VALUE]) for name, value in tags.items()],
            )

        self._jobs.put(send)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Log one row of metrics.csv."""
        now, step = int(1000 * time.time()), int(row["epoch"])
        values = {name: float(value) for name, value in row.items() if name != "epoch"}

        def send(client: MlflowClient, run: str) -> None:
            from mlflow.entities import Metric

            metrics = [Metric(name, value, now, step) for name, value in values.items()]
            client.log_batch(run, metrics=metrics)

        self._jobs.put(send)

    def end(self, status: str = "FINISHED") -> None:
        """Send the folder's plots and small files, and wait for the rest, a minute at most."""

        def send(client: MlflowClient, run: str) -> None:
            for folder, names in (("plots", _IMAGES), (None, _TEXTS)):
                for path in (self._out / name for name in names):
                    if path.is_file():
                        client.log_artifact(run, str(path), folder)

        if status == "FINISHED":
            self._jobs.put(send)
        if "MLFLOW_RUN_ID" not in os.environ:
            self._jobs.put(lambda client, run: client.set_terminated(run, status))
        self._jobs.put(None)
        self._thread.join(_END_SECONDS)
        if self._thread.is_alive():
            self._fail("it doesn't answer")

    def __enter__(self) -> Tracking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.end()
        else:
            self.end("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")

    def _work(self) -> None:
        client: MlflowClient | None = None
        run = ""
        while (job := self._jobs.get()) is not None:
            if self._failed:
                continue
            try:
                if client is None:
                    client = open_client(self._address)
                    run = self._open(client)
                job(client, run)
            # Whatever a store, a driver or a network does: the training goes on.
            except Exception as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                self._fail(lines[0][:200])

    def _open(self, client: MlflowClient) -> str:
        """Return the run's id: of the job's own run, of the run that is resumed, or of a new one."""
        if run := os.environ.get("MLFLOW_RUN_ID"):
            return run
        if self._resume and self._note.is_file():
            noted = json.loads(self._note.read_text(encoding="utf-8"))
            if noted["store"] == self._address:
                client.update_run(noted["run"], status="RUNNING")
                return str(noted["run"])
        found = client.get_experiment_by_name(self._experiment)
        files = files_folder(self._address)
        experiment = (
            found.experiment_id
            if found
            else client.create_experiment(
                self._experiment, None if files is None else (files / self._experiment).as_uri()
            )
        )
        run = client.create_run(experiment, run_name=self._out.name).info.run_id
        write_text(self._note, json.dumps({"store": self._address, "run": run}))
        return run

    def _fail(self, reason: str) -> None:
        if not self._failed:
            self._failed = True
            self._say(f"Tracking ends here, the training goes on: {reason}")
