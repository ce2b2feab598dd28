"""Test what `lookonce models` and `azure check` print for faults, and that nothing is left half done."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from azure_stand_in.stand_in import StandIn

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:11]}x"


@pytest.fixture
def run(stand_in: StandIn, tmp_path: Path) -> Run:
    """Run `lookonce` in a folder with the workspace's config.json and a model file with unique content."""
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
        printed = done.stdout + done.stderr
        assert "Traceback" not in printed, printed
        for secret in (stand_in.tokens.client_secret, stand_in.storage.key, "eyJ", "sig="):
            assert secret not in printed
        return done

    return started


def register(run: Run, name: str, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run("models", "register", "cars.weights", "--name", name, "--on", "azure", *more, **variables)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a failed command prints."""
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line.removeprefix("lookonce: ")


def test_throttling_is_retried(stand_in: StandIn, run: Run, name: str):
    stand_in.faults.throttle(3, 0.2)
    stand_in.faults.throttle(2, 0.2, method="PUT")
    done = register(run, name)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Registered {name}:1\n", "")
    assert [one.status for one in stand_in.requests_to("PUT", "/versions/1")] == [429, 429, 201]


def test_throttling_without_end(stand_in: StandIn, run: Run, name: str):
    stand_in.faults.throttle(1000, 0.1)
    assert refused(register(run, name)) == (
        "workspace lookonce: Azure answered 429 TooManyRequests: too many requests; try again later, or with "
        "fewer at once."
    )
    assert len(stand_in.requests) < 20


def test_a_service_that_is_down(stand_in: StandIn, run: Run, name: str):
    stand_in.faults.unavailable(1000, 0.1, method="PUT")
    assert refused(register(run, name)) == (
        "workspace lookonce: Azure answered 503 ServiceUnavailable: the service is busy; try again later, or "
        f"with fewer at once. No version of {name} was created."
    )
    stand_in.faults.clear()
    assert register(run, name).stdout == f"Registered {name}:1\n"


def test_a_slow_upload_arrives(stand_in: StandIn, run: Run, name: str, tmp_path: Path):
    stand_in.faults.slow_uploads(60_000)
    assert register(run, name).stdout == f"Registered {name}:1\n"
    stand_in.faults.clear()
    assert run("models", "download", name, "--output", "got", "--on", "azure").returncode == 0
    assert (tmp_path / "got/cars.weights").read_bytes() == (tmp_path / "cars.weights").read_bytes()


def test_no_permission_to_write(stand_in: StandIn, run: Run, name: str):
    stand_in.faults.forbid(method="PUT")
    assert refused(register(run, name)) == (
        "workspace lookonce: Azure answered 403 AuthorizationFailed: this identity may not do "
        "MachineLearningServices/workspaces/models/versions/write; ask the workspace's owner for the role "
        "AzureML Data Scientist (for clusters also AzureML Compute Operator); it takes effect after "
        f"some minutes. No version of {name} was created."
    )


def test_an_alias_that_can_not_be_moved(stand_in: StandIn, run: Run, name: str, tmp_path: Path):
    register(run, name, "--alias", "champion")
    (tmp_path / "cars.weights").write_bytes(b"better")
    stand_in.faults.forbid(1, method="PUT", ending="/versions/1")
    assert refused(register(run, name, "--alias", "champion")).endswith(
        f"{name}:2 is registered, but the alias champion was not moved to it. Run the same command again."
    )
    done = run("models", "download", f"{name}:champion", "--output", "got", "--on", "azure")
    assert done.stdout.startswith(f"{name}:2 downloaded to ")
    assert register(run, name, "--alias", "champion").stdout == f"Registered {name}:2, champion\n"
    (shown,) = re.findall(r"^\S+ +\(champion\)", run("models", "show", name, "--on", "azure").stdout, re.M)
    assert shown.startswith(f"{name}:2")


def test_a_download_that_is_refused_leaves_no_file(stand_in: StandIn, run: Run, name: str, tmp_path: Path):
    register(run, name)
    stand_in.faults.forbid(method="POST")
    printed = refused(run("models", "download", name, "--output", "got", "--on", "azure"))
    assert "may not do MachineLearningServices/workspaces/datastores/listSecrets/action" in printed
    assert not list((tmp_path / "got").glob("*"))


@pytest.mark.parametrize(
    ("key", "value", "printed"),
    [
        (
            "workspace_name",
            "other",
            "404 ResourceNotFound: The Resource 'Microsoft.MachineLearningServices/workspaces/other' under "
            "resource group 'lookonce-tests' was not found",
        ),
        ("resource_group", "other", "404 ResourceGroupNotFound: Resource group 'other' could not be found"),
        (
            "subscription_id",
            "00000000-0000-0000-0000-000000000000",
            "404 SubscriptionNotFound: The subscription '00000000-0000-0000-0000-000000000000' could not be "
            "found",
        ),
    ],
)
def test_a_missing_workspace(run: Run, name: str, tmp_path: Path, key: str, value: str, printed: str):
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    fix = f"{printed}; check config.json, and that you are signed in to its tenant"
    workspace = value if key == "workspace_name" else "lookonce"
    assert refused(register(run, name)).startswith(f"workspace {workspace}: Azure answered {fix}.")
    checked = run("azure", "check")
    assert checked.returncode == 1
    assert f"--  workspace   Azure answered {fix}" in checked.stdout


@pytest.mark.parametrize(
    ("variables", "printed"),
    [
        (
            {"AZURE_CLIENT_SECRET": "not-the-secret"},
            "not signed in (AADSTS7000215): the client secret is wrong; check AZURE_CLIENT_SECRET (its "
            "value, not its id)",
        ),
        (
            {"AZURE_TENANT_ID": str(uuid.UUID(int=1))},
            "not signed in (AADSTS90002): there is no such tenant; check AZURE_TENANT_ID",
        ),
        (
            {"AZURE_CLIENT_ID": str(uuid.UUID(int=1))},
            "not signed in (AADSTS700016): there is no such application in the tenant; check AZURE_CLIENT_ID "
            "and AZURE_TENANT_ID",
        ),
        (
            {"REQUESTS_CA_BUNDLE": ""},
            "signing in failed: the certificate is not trusted; behind a proxy that intercepts TLS, set "
            "REQUESTS_CA_BUNDLE to its authority's file",
        ),
    ],
)
def test_signing_in_fails(run: Run, name: str, variables: dict[str, str], printed: str):
    done = register(run, name, **variables)
    assert refused(done) == f"workspace lookonce: {printed}."
    assert "not-the-secret" not in done.stderr


def test_check_reports_why_signing_in_fails(stand_in: StandIn, run: Run):
    done = run("azure", "check", AZURE_CLIENT_SECRET="not-the-secret")
    assert done.returncode == 1
    assert "--  signed in   not signed in (AADSTS7000215): the client secret is wrong;" in done.stdout
    stand_in.faults.forbid()
    done = run("azure", "check")
    assert (
        "--  workspace   Azure answered 403 AuthorizationFailed: this identity may not do "
        "MachineLearningServices/workspaces/read;"
    ) in done.stdout


def test_tokens_that_expire_meanwhile(stand_in: StandIn, run: Run, name: str):
    stand_in.faults.expire_tokens(method="PUT")
    assert refused(register(run, name)).startswith(
        "workspace lookonce: Azure answered 401 ExpiredAuthenticationToken: the sign-in has expired; run az "
        "login again, or check the service principal's secret and this machine's clock."
    )
    assert register(run, name).stdout == f"Registered {name}:1\n"
