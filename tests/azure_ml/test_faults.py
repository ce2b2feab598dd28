"""What a user sees when Azure doesn't do what was asked, and that nothing is left half-done."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from azure_ml.stand_in import StandIn

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def run(stand_in: StandIn, tmp_path: Path) -> Run:
    """`lookonce`, in a folder with the workspace's config.json and a model's file of its own content."""
    (tmp_path / "config.json").write_text(stand_in.config.read_text())
    (tmp_path / "cars.weights").write_bytes(os.urandom(100_000))

    def started(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "lookonce", *arguments],
            cwd=tmp_path,
            env={**os.environ, **stand_in.environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        for secret in (stand_in.tokens.client_secret, stand_in.storage.key, "eyJ", "sig="):
            assert secret not in said
        return done

    return started


def test_throttling_is_waited_out(stand_in: StandIn, run: Run, name: str):
    stand_in.faults.throttle(3, 0.2)
    stand_in.faults.throttle(2, 0.2, method="PUT")
    done = run("models", "register", "cars.weights", "--name", name, "--on", "azure")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Registered {name}:1\n", "")
    assert [one.status for one in stand_in.asked("PUT", "/versions/1")] == [429, 429, 201]


def test_dropped_uploads_go_on(stand_in: StandIn, run: Run, name: str):
    stand_in.faults.drop_uploads(2, 50_000)
    done = run("models", "register", "cars.weights", "--name", name, "--on", "azure")
    assert done.returncode == 0, done.stderr
    assert stand_in.names.drops == 0
    assert run("models", "download", name, "--output", "got", "--on", "azure").returncode == 0
