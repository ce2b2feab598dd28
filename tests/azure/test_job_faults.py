"""Test the messages for faults around jobs, and what is left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from azure_stand_in.stand_in import StandIn
from lookonce.labels.demo_set import make_demo_set
from waiting import PATIENCE_SECONDS

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
# A missing list: the job fails as soon as it reads the labels.
_SHORT = ("--gpu-num", "0", "--epochs", "1", "--train-split", "none-such")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_set(tmp_path_factory.mktemp("set"), images=8, seed=4)


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:11]}x"


@pytest.fixture
def start(stand_in: StandIn, tmp_path: Path) -> Start:
    """Start `lookonce` as a process in a folder with the workspace's config.json."""
    (tmp_path / "config.json").write_text(stand_in.config.read_text())

    def started(*arguments: object) -> subprocess.Popen[str]:
        environment = {**os.environ, **stand_in.environment}
        environment.pop("AZUREML_CURRENT_CLOUD", None)
        return subprocess.Popen(
            [sys.executable, "-m", "lookonce", *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


@pytest.fixture
def run(stand_in: StandIn, start: Start) -> Run:
    """Run `lookonce` to its end; check that it prints no traceback and no secret."""

    def ran(*arguments: object) -> subprocess.CompletedProcess[str]:
        process = start(*arguments)
        out, err = process.communicate(timeout=400)
        assert "Traceback" not in out + err, out + err
        for secret in (stand_in.tokens.client_secret, stand_in.storage.key, "eyJ", "sig="):
            assert secret not in out + err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return ran


def train(run: Run, data: Path, name: str, *more: object) -> subprocess.CompletedProcess[str]:
    return run("train", data, "--on", "azure", "--experiment-name", name, *_SHORT, *more)


def jobs_of(stand_in: StandIn, name: str) -> list[str]:
    return [one["name"] for one in stand_in.resources.below("jobs") if one["name"].startswith(name)]


def test_no_cores_left_leaves_no_cluster(stand_in: StandIn, run: Run, data: Path, name: str):
    stand_in.faults.quota("computes")
    done = train(run, data, name, "--compute", name)
    assert done.returncode == 1
    assert "quota" in done.stderr.lower()
    assert "choose a smaller machine size" in done.stderr
    assert "Nothing was left behind." in done.stderr
    assert f"computes/{name}" not in stand_in.resources
    assert not jobs_of(stand_in, name)


def test_a_job_that_waits_for_cores_reports_it(
    stand_in: StandIn, run: Run, start: Start, data: Path, name: str
):
    stand_in.faults.quota("jobs")
    started = train(run, data, name, "--no-watch")
    (job,) = jobs_of(stand_in, name)
    assert started.returncode == 0
    watching = start("azure", "jobs", "watch", job)
    # A watchdog for a command that never prints it; success does not depend on time.
    watchdog = threading.Timer(PATIENCE_SECONDS, watching.kill)
    watchdog.start()
    assert watching.stdout is not None
    lines = []
    for line in watching.stdout:
        lines.append(line)
        if "ClusterCoreQuotaReached" in line:
            stand_in.faults.clear()
    watching.wait()
    watchdog.cancel()
    printed = " ".join(" ".join(lines).split())
    assert "The cluster has no machine for the job: ClusterCoreQuotaReached" in printed
    # It is printed once, and the job continues when there are cores.
    assert printed.count("ClusterCoreQuotaReached") == 1
    assert "none-such" in printed


def test_an_image_that_can_not_be_built(stand_in: StandIn, run: Run, data: Path, name: str):
    stand_in.faults.image_build_failure("ERROR: No matching distribution found for nothing==0\n")
    done = train(run, data, name)
    assert done.returncode == 1
    assert "No matching distribution found for nothing==0" in done.stdout
    assert "failed" in done.stderr
    assert "image" in done.stderr.lower()
    assert f"models/{name}" not in stand_in.resources


def test_throttling_and_an_unavailable_service_are_retried(
    stand_in: StandIn, run: Run, data: Path, name: str
):
    stand_in.faults.throttle(2, 1, "PUT")
    stand_in.faults.unavailable(2, 1, "GET", "/details")
    done = train(run, data, name)
    # The command survived both, and the job ran to its end.
    assert "none-such" in done.stdout
    assert len(jobs_of(stand_in, name)) == 1


def test_a_lost_response_creates_no_second_job(stand_in: StandIn, run: Run, data: Path, name: str):
    stand_in.faults.lose_answers(1, "PUT", None)
    done = train(run, data, name, "--no-watch")
    assert done.returncode == 0, done.stderr
    assert len(jobs_of(stand_in, name)) == 1


def test_tokens_that_expire_while_watching(stand_in: StandIn, run: Run, data: Path, name: str):
    stand_in.faults.expire_tokens("GET", "/details")
    done = train(run, data, name)
    assert "none-such" in done.stdout
    assert "failed" in done.stderr


def test_a_service_that_stays_unavailable_while_watching(stand_in: StandIn, run: Run, data: Path, name: str):
    stand_in.faults.unavailable(1000, None, "GET", "/details")
    done = train(run, data, name)
    assert done.returncode == 1
    found = re.search(r"Job: (\S+)", done.stdout)
    assert found
    assert "The job continues." in done.stderr
    assert f"lookonce azure jobs watch {found[1]}" in done.stderr
    assert stand_in.jobs.wait(found[1]) == "Failed"


def test_no_permission_for_jobs_names_what_is_there(stand_in: StandIn, run: Run, data: Path, name: str):
    stand_in.faults.forbid(method="PUT", ending=None)
    done = train(run, data, name)
    assert done.returncode == 1
    assert "AzureML Data Scientist" in done.stderr
    assert not jobs_of(stand_in, name)


def test_a_slow_and_broken_upload_of_images(stand_in: StandIn, run: Run, data: Path, name: str):
    stand_in.faults.slow_uploads(200_000)
    stand_in.faults.drop_uploads(3, 3000)
    done = train(run, data, name, "--no-watch")
    assert done.returncode == 0, done.stderr
    assert re.search(r"Data: \d+ files \(.* sent to datastore workspaceblobstore", done.stdout)


def test_unknown_jobs(run: Run):
    for verb in ("watch", "cancel", "download"):
        done = run("azure", "jobs", verb, "no-such-job")
        assert done.returncode == 1
        assert "no job 'no-such-job' in workspace lookonce; lookonce azure jobs list" in done.stderr
