"""Test `lookonce azure provision`: the commands that it prints, and runs with --apply."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lookonce.azure.provision import TEMPLATE, WorkspaceSpec, commands
from lookonce.errors import LookonceError

RUN = [sys.executable, "-m", "lookonce", "azure", "provision", "--subscription", "sub"]
NAMES = ["--resource-group", "vision", "--workspace", "cells"]


def run(folder: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **({"PATH": path} if path else {})}
    return subprocess.run(
        [*RUN, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


def az(folder: Path, fails_on: str = "never") -> str:
    """Install an `az` that records its arguments."""
    tool = folder / "bin" / "az"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\ncase "$*" in *"{fails_on}"*) exit 3;; esac\n')
    tool.chmod(0o755)
    return f"{tool.parent}:/usr/bin:/bin"


def test_prints_lines_for_a_shell(tmp_path: Path):
    done = run(tmp_path, *NAMES, "--max-nodes", "4", "--low-priority")
    assert done.returncode == 0, done.stderr
    lines, config = done.stdout.split("\n\n# then, in config.json:\n")
    words = [shlex.split(line) for line in lines.splitlines()]
    assert [line[:3] for line in words] == [
        ["az", "account", "set"],
        ["az", "group", "create"],
        ["az", "deployment", "group"],
    ]
    assert {"name=cells", "maxNodes=4", "lowPriority=true"} <= set(words[2])
    assert json.loads(config) == {
        "subscription_id": "sub",
        "resource_group": "vision",
        "workspace_name": "cells",
    }
    assert not (tmp_path / "config.json").exists()
    # The template is in the package, and has the parameters that the commands set.
    template = TEMPLATE.read_text()
    for word in words[2][words[2].index("--parameters") + 1 :]:
        assert f"param {word.partition('=')[0]} " in template


def test_apply_runs_them_and_names_the_workspace(tmp_path: Path):
    done = run(tmp_path, *NAMES, "--apply", path=az(tmp_path))
    assert done.returncode == 0, done.stderr
    arguments = (tmp_path / "calls").read_text().splitlines()
    assert [line.split()[0] for line in arguments] == ["account", "group", "deployment"]
    assert json.loads((tmp_path / "config.json").read_text())["workspace_name"] == "cells"


def test_what_stops_it(tmp_path: Path):
    failed = run(tmp_path, *NAMES, "--apply", path=az(tmp_path, fails_on="group create --name vision"))
    assert failed.returncode == 1
    assert "az group create --name exited with 3" in failed.stderr
    assert len((tmp_path / "calls").read_text().splitlines()) == 2
    assert not (tmp_path / "config.json").exists()
    (tmp_path / "config.json").write_text("{}")
    other = run(tmp_path, *NAMES, "--apply", path=f"{tmp_path}/bin")
    assert "names another workspace" in other.stderr
    (tmp_path / "config.json").unlink()
    without = run(tmp_path, *NAMES, "--apply", path="/nowhere")
    assert "Azure CLI (az) is not installed" in without.stderr


@pytest.mark.parametrize(
    ("group", "workspace"), [("vision", "a"), ("vision", "a b"), ("a;b", "cells"), ("", "cells")]
)
def test_names_that_azure_refuses(group: str, workspace: str):
    with pytest.raises(LookonceError, match="is not a"):
        commands(WorkspaceSpec("sub", group, workspace))
