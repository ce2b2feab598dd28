"""Training runs in MLflow: what a reader finds there, and what a store that fails costs."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from lookonce.models.mlflow_store import open_client, store_address
from lookonce.runs.tracking import Tracking

ROWS = [{"epoch": epoch, "loss": 10.0 / epoch, "val_map": epoch / 10} for epoch in (1, 2, 3)]


@pytest.fixture(autouse=True)
def no_store_of_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "metrics.csv").write_text("epoch,loss\n")
    (folder / "curves.png").write_bytes(b"image")
    return folder


def runs(out: Path, experiment: str = "cells"):
    client = open_client(store_address(out.parent))
    return client, client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def test_a_run_has_its_settings_metrics_and_plots(out: Path):
    said: list[str] = []
    with Tracking(out, "cells", said.append) as tracking:
        tracking.begin({"lr": 0.001, "long": "x" * 9000}, {"data.sha256": "abc"})
        for row in ROWS:
            tracking.epoch(row)
    assert said == []
    client, (run,) = runs(out)
    assert run.info.status == "FINISHED"
    assert run.data.params["lr"] == "0.001"
    assert run.data.tags["data.sha256"] == "abc"
    history = client.get_metric_history(run.info.run_id, "val_map")
    assert [(one.step, one.value) for one in history] == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["metrics.csv", "plots"]
    assert (out.parent / "mlflow.db").is_file()
    assert Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(out.parent / "mlartifacts")


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_a_broken_off_run_says_so_and_is_gone_on_with(out: Path, error: type[BaseException], status: str):
    with pytest.raises(error), Tracking(out, "cells", print) as tracking:  # noqa: PT012 (that it ends)
        tracking.epoch(ROWS[0])
        raise error
    _, (run,) = runs(out)
    assert run.info.status == status
    with Tracking(out, "cells", print, resume=True) as tracking:
        tracking.epoch(ROWS[1])
    client, (again,) = runs(out)
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 2


def test_a_store_that_is_not_there_costs_a_line(out: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound, not listening: connections are refused.
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{taken.getsockname()[1]}")
        said: list[str] = []
        with Tracking(out, "cells", said.append) as tracking:
            begun = time.monotonic()
            for row in ROWS * 100:
                tracking.epoch(row)
            assert time.monotonic() - begun < 1, "training waits for nothing"
    (line,) = said
    assert line.startswith("Tracking ends here, the training goes on: ")


def test_a_damaged_database_costs_a_line(out: Path):
    (out.parent / "mlflow.db").write_bytes(b"no database at all" * 100)
    said: list[str] = []
    with Tracking(out, "cells", said.append) as tracking:
        tracking.epoch(ROWS[0])
    assert len(said) == 1
    assert "training goes on" in said[0]
    assert (out.parent / "mlflow.db").read_bytes().startswith(b"no database")


def test_a_job_that_was_given_a_run_uses_it(out: Path, monkeypatch: pytest.MonkeyPatch):
    client = open_client(store_address(out.parent))
    run = client.create_run(client.create_experiment("given", (out.parent / "files").as_uri())).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run)
    with Tracking(out, "cells", print) as tracking:
        tracking.epoch(ROWS[0])
    found = client.get_run(run)
    assert found.data.metrics["loss"] == 10
    # Whoever started the job ends its run.
    assert found.info.status == "RUNNING"
