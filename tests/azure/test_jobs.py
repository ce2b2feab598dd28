"""Test `lookonce train --on azure` and `lookonce azure jobs` as processes; the stand-in runs the jobs."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from azure.ai.ml.entities import AmlCompute

from azure_stand_in.stand_in import StandIn
from lookonce.labels.demo_set import make_demo_set

QUICK = ("--size", "64x96", "--bs", "4", "--lr", "0.003", "--gpu-num", "0")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_set(tmp_path_factory.mktemp("set"), images=20, seed=3)


@pytest.fixture
def experiment() -> str:
    return f"cells-{uuid.uuid4().hex[:8]}"


def words(stand_in: StandIn, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "lookonce", *map(str, arguments), "--config", str(stand_in.config)]


def lookonce(stand_in: StandIn, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words(stand_in, *arguments), capture_output=True, text=True, timeout=300)


def job_of(text: str) -> str:
    found = re.search(r"Job: (\S+)", text)
    assert found, text
    return found[1]


def test_a_training_from_images_to_registered_models(
    stand_in: StandIn, data: Path, experiment: str, tmp_path: Path
):
    out = tmp_path / "fetched"
    done = lookonce(
        stand_in,
        *("train", data, "--on", "azure", "--experiment-name", experiment, "--epochs", 3, *QUICK),
        *("--download", "--out", out),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    name = job_of(done.stdout)
    # The job's log and states.
    for part in ("20 images", "lookonce-cpu created", "Running", "Stage 2", "epoch   3", "Completed"):
        assert part.lower() in done.stdout.lower(), f"{part}\n{done.stdout}"
    assert "Error" not in done.stdout, done.stdout
    assert f"Registered {experiment}:1, the final model" in done.stdout
    assert "the best model, AP50" in done.stdout
    rows = list(csv.DictReader(io.StringIO((out / "metrics.csv").read_text())))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert (out / "model.keras").stat().st_size > 0
    # The workspace's MLflow has every epoch.
    run = stand_in.service.mlflow.run(name)
    assert run["info"]["status"] == "FINISHED"
    logged = {one["key"]: one["value"] for one in run["data"]["metrics"]}
    assert logged["loss"] == pytest.approx(float(rows[-1]["loss"]), rel=1e-4)
    # The cluster costs nothing while idle.
    cluster = stand_in.resources.get("computes/lookonce-cpu")["properties"]["properties"]
    assert cluster["scaleSettings"]["minNodeCount"] == 0
    assert cluster["scaleSettings"]["nodeIdleTimeBeforeScaleDown"] == "PT15M"
    # Models by alias, with their metrics.
    shown = lookonce(stand_in, "models", "show", f"{experiment}:best", "--on", "azure")
    assert f"job: {name}" in shown.stdout, shown.stderr
    assert "val_map: " in shown.stdout
    got = lookonce(
        stand_in, "models", "download", f"{experiment}:best", "--on", "azure", "--output", tmp_path
    )
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "model.keras").read_bytes() == (out / "model.keras").read_bytes()
    # Watching a finished job again registers nothing twice.
    again = lookonce(stand_in, "azure", "jobs", "watch", name)
    assert again.returncode == 0, again.stderr
    assert f"Registered {experiment}:1, the final model" in again.stdout
    listed = lookonce(stand_in, "azure", "jobs", "list")
    assert name[:12] in listed.stdout.replace("\n", ""), listed.stderr


def test_ctrl_c_leaves_the_job_running_and_cancel_stops_it(stand_in: StandIn, data: Path, experiment: str):
    process = subprocess.Popen(
        words(
            stand_in, "train", data, "--on", "azure", "--experiment-name", experiment, "--epochs", 500, *QUICK
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    read: list[str] = []
    for line in process.stdout:
        read.append(line)
        if "Stage 2" in line:
            break
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    name = job_of("".join(read))
    assert process.returncode == 130, rest + errors
    assert "Traceback" not in errors
    assert f"lookonce azure jobs cancel {name}" in errors
    assert stand_in.jobs.status(name) == "Running"
    canceled = lookonce(stand_in, "azure", "jobs", "cancel", name)
    assert "Canceled" in canceled.stdout, canceled.stderr
    assert stand_in.jobs.status(name) == "Canceled"
    watched = lookonce(stand_in, "azure", "jobs", "watch", name)
    assert watched.returncode == 1
    assert "was canceled" in watched.stdout


def test_a_preempted_job_continues_from_its_last_epoch(
    stand_in: StandIn, data: Path, experiment: str, tmp_path: Path
):
    process = subprocess.Popen(
        words(
            stand_in,
            *("train", data, "--on", "azure", "--experiment-name", experiment, "--epochs", 5, *QUICK),
            *("--low-priority", "--download", "--out", tmp_path / "run"),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    printed: list[str] = []
    preempted = False
    for line in process.stdout:
        printed.append(line)
        if "epoch   2" in line and not preempted:
            stand_in.jobs.preempt(job_of("".join(printed)))
            preempted = True
    text = "".join(printed)
    assert process.wait(timeout=200) == 0, text
    assert "The machine was preempted" in text
    assert "Resuming after epoch" in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "run" / "metrics.csv").read_text())))
    assert [row["epoch"] for row in rows] == [str(number) for number in range(1, 6)]
    tier = stand_in.resources.get("computes/lookonce-cpu-low")["properties"]["properties"]["vmPriority"]
    assert tier == "LowPriority"


def test_a_failed_job_reports_why_and_registers_nothing(stand_in: StandIn, data: Path, experiment: str):
    done = lookonce(
        stand_in,
        *("train", data, "--on", "azure", "--experiment-name", experiment, "--epochs", 2, *QUICK),
        *("--val-split", "nosuchlist"),
    )
    assert done.returncode == 1
    assert "nosuchlist" in done.stdout
    assert "failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert f"models/{experiment}" not in stand_in.resources


def test_images_in_a_datastore_of_the_users(
    stand_in: StandIn, data: Path, experiment: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STORAGE_ACCOUNT_NAME", stand_in.storage.account)
    monkeypatch.setenv("STORAGE_ACCOUNT_KEY", stand_in.storage.key)
    monkeypatch.setenv("STORAGE_ENDPOINT_SUFFIX", "core.localhost")
    monkeypatch.setenv("STORAGE_CONTAINER_NAME_TRAINDATA", "labelled")
    sent = lookonce_storage(data)
    assert sent.returncode == 0, sent.stderr
    store = f"ds_{uuid.uuid4().hex[:8]}"
    done = lookonce(
        stand_in,
        *("train", "sets/cells", "--on", "azure", "--experiment-name", experiment, "--epochs", 1, *QUICK),
        *("--ds-name", store, "--no-watch"),
    )
    assert done.returncode == 0, done.stderr
    assert f"Datastore {store}: container labelled, newly registered." in done.stdout
    assert stand_in.jobs.wait(job_of(done.stdout)) == "Completed", stand_in.jobs.errors
    # The account's key is sent to the service only.
    assert stand_in.storage.key not in done.stdout + done.stderr
    missing = lookonce(
        stand_in,
        "train",
        "sets/nothing",
        "--on",
        "azure",
        "--ds-name",
        store,
        "--experiment-name",
        experiment,
    )
    assert missing.returncode == 1
    assert "none in container labelled" in missing.stderr


def lookonce_storage(data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lookonce", "storage", "upload", str(data), "--container", "labelled"]
    return subprocess.run([*command, "--prefix", "sets/cells"], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--gpu-num", "3"), "--gpu-num 3"),
        (("--gpu-num", "-1"), "-1 GPUs"),
        (("--compute", "x"), "'x' is not a cluster name"),
        (("--nodes", "0"), "--nodes is 0; expected 1 or more"),
        (("--experiment-name", "a b"), "'a b' is not an experiment name"),
        (("--weights", "missing.weights"), "missing.weights: no such file"),
        (("--class-path", "missing.txt"), "--class-path missing.txt: no such file"),
        (("--ds-name", "a-b"), "'a-b' is not a datastore name"),
    ],
)
def test_invalid_options_are_reported_and_no_job_is_created(
    stand_in: StandIn, data: Path, options: tuple[str, ...], expected: str
):
    done = lookonce(stand_in, "train", data, "--on", "azure", *options)
    assert done.returncode in (1, 2)
    assert expected in done.stderr, done.stderr
    assert not stand_in.requests_to("PUT", "/jobs")
    assert not [one for one in stand_in.requests if one.method == "PUT" and "/jobs/" in one.path]


def test_a_cluster_of_the_users_is_used_as_it_is(stand_in: StandIn, data: Path, experiment: str):
    client = stand_in.client()
    client.compute.begin_create_or_update(
        AmlCompute(name="our-own", size="Standard_DS12_v2", min_instances=0, max_instances=2)
    ).result()
    # The SDK has set it in this process; a user's shell does not have it.
    os.environ.pop("AZUREML_CURRENT_CLOUD", None)
    refused = lookonce(
        stand_in,
        *("train", data, "--on", "azure", "--experiment-name", experiment, "--compute", "our-own"),
        *("--vm-size", "Standard_DS3_v2", "--no-watch"),
    )
    assert "our-own exists with STANDARD_DS12_V2, not Standard_DS3_v2" in refused.stderr
    done = lookonce(
        stand_in,
        *("train", data, "--on", "azure", "--experiment-name", experiment, "--compute", "our-own", *QUICK),
        *("--epochs", 1, "--no-watch"),
    )
    assert done.returncode == 0, done.stderr
    assert "our-own (STANDARD_DS12_V2), existing" in done.stdout
    name = job_of(done.stdout)
    job = stand_in.resources.get(f"jobs/{name}")["properties"]
    assert job["distribution"] is None
    assert job["resources"]["instanceCount"] == 1
    assert stand_in.jobs.wait(name, 200) == "Completed", stand_in.jobs.errors


def test_no_secret_travels_with_the_code(
    stand_in: StandIn, data: Path, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".env").write_text("AZURE_CLIENT_SECRET=never")
    (tmp_path / "config.json").write_text(stand_in.config.read_text())
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lookonce", "train", str(data), "--on", "azure", *QUICK),
            *("--no-watch", "--epochs", "1", "--experiment-name", experiment),
        ],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    job = stand_in.resources.get(f"jobs/{job_of(done.stdout)}")["properties"]
    container, path = stand_in.addresses.place(job["codeId"])
    names = stand_in.storage.names(container, path)
    assert any(name.endswith("lookonce/__main__.py") for name in names)
    secret = os.environ["AZURE_CLIENT_SECRET"].encode()
    for name in names:
        assert not name.endswith((".env", "config.json"))
        content = stand_in.storage.read(container, name)
        assert secret not in content
        assert b"AZURE_CLIENT_SECRET=never" not in content
