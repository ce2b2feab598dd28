"""The unmodified SDK submits jobs to the stand-in, which runs them."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import Input, Output

from azure_stand_in.stand_in import StandIn
from azure_stand_in.tests.submitting import code, submit
from waiting import wait_until


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:11]}x"


def test_a_job_reads_its_input_writes_its_output_and_its_log(stand_in: StandIn, name: str, tmp_path: Path):
    client = stand_in.client()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one.txt").write_text("seen")
    script = (
        "import os, sys, pathlib\n"
        "print('text:', pathlib.Path(sys.argv[1], 'one.txt').read_text(), os.environ['MLFLOW_RUN_ID'])\n"
        "pathlib.Path(sys.argv[2], 'result.txt').write_text('done')\n"
        "pathlib.Path('outputs', 'more.txt').write_text('more')\n"
    )
    submit(
        client,
        name,
        code(tmp_path / "code", script),
        "${{inputs.data}} ${{outputs.result}}",
        inputs={"data": Input(type="uri_folder", path=str(tmp_path / "data"))},
        outputs={"result": Output(type="uri_folder", mode="rw_mount")},
    )
    assert stand_in.jobs.wait(name) == "Completed", stand_in.jobs.errors
    client.jobs.download(name, all=True, download_path=tmp_path / "all")
    found = {path.name: path.read_text() for path in (tmp_path / "all").rglob("*.txt")}
    assert found["std_log.txt"].strip() == f"text: seen {name}"
    assert found["more.txt"] == "more"
    assert found["result.txt"] == "done"


def test_a_failing_job_says_why(stand_in: StandIn, name: str, tmp_path: Path):
    client = stand_in.client()
    submit(client, name, code(tmp_path / "code", "raise SystemExit('no such thing')"))
    assert stand_in.jobs.wait(name) == "Failed"
    assert client.jobs.get(name).status == "Failed"
    assert "no such thing" in stand_in.jobs.errors[name]["error"]["message"]


def test_a_job_waits_for_cores(stand_in: StandIn, name: str, tmp_path: Path):
    client = stand_in.client()
    stand_in.faults.quota("jobs")
    submit(client, name, code(tmp_path / "code", "print('at last')"))

    def errors() -> Any:
        return stand_in.resources.get("computes/two-nodes")["properties"]["properties"]["errors"]

    wait_until(errors)
    assert errors()[0]["error"]["code"] == "ClusterCoreQuotaReached"
    assert client.jobs.get(name).status == "Queued"
    stand_in.faults.clear()
    assert stand_in.jobs.wait(name) == "Completed", stand_in.jobs.errors
    assert errors() is None


def test_cancel_stops_the_process(stand_in: StandIn, name: str, tmp_path: Path):
    client = stand_in.client()
    submit(client, name, code(tmp_path / "code", "import time; print('up', flush=True); time.sleep(600)"))
    wait_until(lambda: stand_in.jobs.status(name) == "Running")
    client.jobs.begin_cancel(name).result()
    assert client.jobs.get(name).status == "Canceled"


def test_a_preempted_job_restarts_with_its_mounted_output(stand_in: StandIn, name: str, tmp_path: Path):
    client = stand_in.client()
    script = (
        "import pathlib, sys, time\n"
        "kept = pathlib.Path(sys.argv[1], 'kept.txt')\n"
        "if kept.exists(): print('again'); raise SystemExit\n"
        "kept.write_text('first'); print('first', flush=True); time.sleep(600)\n"
    )
    result = Output(type="uri_folder", mode="rw_mount")
    submit(client, name, code(tmp_path / "code", script), "${{outputs.result}}", outputs={"result": result})
    kept = f"azureml/{name}/result/kept.txt"
    log = f"ExperimentRun/dcid.{name}/user_logs/std_log.txt"
    # The script's first line says that its file is written.
    wait_until(lambda: b"first" in logged(stand_in, log))
    stand_in.jobs.preempt(name)
    assert stand_in.jobs.wait(name) == "Completed", stand_in.jobs.errors
    assert stand_in.storage.read("azureml-blobstore", kept) == b"first"


def logged(stand_in: StandIn, log: str) -> bytes:
    names = list(stand_in.storage.names("azureml-artifacts", log))
    return stand_in.storage.read("azureml-artifacts", log) if names else b""


def test_two_nodes_of_tensorflow(stand_in: StandIn, name: str, tmp_path: Path):
    client = stand_in.client()
    script = "import json, os; print(json.loads(os.environ['TF_CONFIG'])['task'])"
    submit(
        client,
        name,
        code(tmp_path / "code", script),
        instance_count=2,
        distribution={"type": "TensorFlow", "worker_count": 2},
    )
    assert stand_in.jobs.wait(name) == "Completed", stand_in.jobs.errors
    logs = list(stand_in.storage.names("azureml-artifacts", f"ExperimentRun/dcid.{name}/"))
    texts = [stand_in.storage.read("azureml-artifacts", log).decode() for log in sorted(logs)]
    assert ["'index': 0" in texts[0], "'index': 1" in texts[1]] == [True, True]


def test_metrics_reach_the_workspace(stand_in: StandIn, name: str, tmp_path: Path):
    client = stand_in.client()
    script = (
        "import os, mlflow\n"
        "client = mlflow.MlflowClient()\n"
        "client.log_metric(os.environ['MLFLOW_RUN_ID'], 'loss', 0.25, step=3)\n"
    )
    submit(client, name, code(tmp_path / "code", script))
    assert stand_in.jobs.wait(name) == "Completed", stand_in.jobs.errors
    run = stand_in.service.mlflow.run(name)
    assert [(one["key"], one["value"], one["step"]) for one in run["data"]["metrics"]] == [("loss", 0.25, 3)]
    assert run["info"]["status"] == "FINISHED"
