"""Test `lookonce models --on azure` and the workspace's registry."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from azure_stand_in.stand_in import StandIn
from lookonce.azure.registry import AzureRegistry
from lookonce.azure.session import find_config, open_workspace
from lookonce.errors import LookonceError
from lookonce.models.registry import find


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:11]}x"


@pytest.fixture
def registry(stand_in: StandIn) -> AzureRegistry:
    return AzureRegistry(open_workspace(find_config(stand_in.config)))


def file(folder: Path, content: bytes, name: str = "model.keras") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_versions_aliases_and_the_file_back(registry: AzureRegistry, name: str, tmp_path: Path):
    first = registry.register(file(tmp_path, b"one"), name, {"val_map": "0.5"}, "champion")
    assert (first.version, first.aliases, first.tags["val_map"]) == ("1", ("champion",), "0.5")
    second = registry.register(file(tmp_path, b"two"), name, {}, "champion")
    assert (second.version, second.aliases) == ("2", ("champion",))
    assert find(registry, f"{name}:1").aliases == ()
    again = registry.register(file(tmp_path, b"one"), name, {"val_map": "0.51"}, None)
    assert (again.version, again.tags["val_map"]) == ("1", "0.51")
    assert [one.version for one in registry.versions(name)] == ["2", "1"]
    assert find(registry, f"{name}:champion").version == find(registry, name).version == "2"
    path = registry.download(find(registry, f"{name}:1"), tmp_path / "got")
    assert path.name == "model.keras"
    assert path.read_bytes() == b"one"
    assert name in [one.name for one in registry.newest()]
    with pytest.raises(LookonceError, match="exists and is another file"):
        registry.download(find(registry, f"{name}:2"), tmp_path / "got")
    with pytest.raises(LookonceError, match="no model 'nothing-like-it' is registered in workspace"):
        registry.versions("nothing-like-it")


def test_the_command(stand_in: StandIn, name: str, tmp_path: Path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lookonce", "models", *arguments, "--on", "azure"],
            cwd=tmp_path,
            env={**os.environ, **stand_in.environment},
            capture_output=True,
            text=True,
            check=False,
        )

    file(tmp_path, b"weights", "cars.weights")
    missing = run("register", "cars.weights", "--name", name)
    assert missing.returncode == 1
    assert "no config.json in" in missing.stderr
    (tmp_path / "config.json").write_text(stand_in.config.read_text())
    done = run("register", "cars.weights", "--name", f"{name}.h5", "--alias", "base")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"Registered {name}:1, base"
    assert done.stderr == ""
    got = run("download", f"{name}:base", "--output", "got")
    assert got.stdout.strip() == f"{name}:1 downloaded to got/cars.weights", got.stderr
    assert (tmp_path / "got" / "cars.weights").read_bytes() == b"weights"
    assert stand_in.tokens.client_secret not in done.stdout + done.stderr + got.stdout + got.stderr


def test_check_passes(stand_in: StandIn, tmp_path: Path):
    (tmp_path / "config.json").write_text(stand_in.config.read_text())
    env = {**os.environ, **stand_in.environment}
    old = {"AML_PRINCIPAL_PASS": env.pop("AZURE_CLIENT_SECRET"), "STORAGE_CONNECTION_STRING": ""}
    done = subprocess.run(
        [sys.executable, "-m", "lookonce", "azure", "check"],
        cwd=tmp_path,
        env={**env, **old},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    for what in ("variables", "config.json", "signed", "workspace", "compute", "datastore"):
        assert lines[what].startswith("ok"), done.stdout + done.stderr
    assert "AML_PRINCIPAL_PASS (now AZURE_CLIENT_SECRET)" in lines["variables"]
    assert lines["storage"].startswith("--")
    assert done.returncode == 1
    assert old["AML_PRINCIPAL_PASS"] not in done.stdout + done.stderr
