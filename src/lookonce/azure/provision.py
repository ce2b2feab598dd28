"""The commands that make a workspace: for reading first, and for running on demand."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lookonce.errors import LookonceError
from lookonce.io.atomic import write_text

TEMPLATE = Path(__file__).with_name("workspace.bicep")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]{1,31}[a-zA-Z0-9]\Z")
_GROUP = re.compile(r"[\w.()-]{0,89}[\w()-]\Z")


@dataclass(frozen=True)
class WorkspaceSpec:
    """What to make. `vm_size` "" makes no cluster."""

    subscription: str
    group: str
    workspace: str
    location: str = "westeurope"
    vm_size: str = "Standard_NC4as_T4_v3"
    max_nodes: int = 1
    low_priority: bool = False


def commands(wanted: WorkspaceSpec) -> list[list[str]]:
    """The `az` lines that make it, each as its words. Raises LookonceError for names that Azure refuses."""
    if not _NAME.match(wanted.workspace):
        raise LookonceError(
            f"--workspace {wanted.workspace[:60]!r} is no name for a workspace; expected 3 to 33 "
            "letters, digits and hyphens."
        )
    if not _GROUP.match(wanted.group):
        raise LookonceError(
            f"--resource-group {wanted.group[:60]!r} is no name for a resource group; expected up to 90 "
            "letters, digits, _ - . ( )."
        )
    parameters = [
        f"name={wanted.workspace}",
        f"vmSize={wanted.vm_size}",
        f"maxNodes={wanted.max_nodes}",
        f"lowPriority={str(wanted.low_priority).lower()}",
    ]
    return [
        ["az", "account", "set", "--subscription", wanted.subscription],
        ["az", "group", "create", "--name", wanted.group, "--location", wanted.location],
        [
            *("az", "deployment", "group", "create", "--name", f"lookonce-{wanted.workspace}"),
            *("--resource-group", wanted.group, "--template-file", str(TEMPLATE)),
            *("--parameters", *parameters),
        ],
    ]


def as_text(lines: list[list[str]]) -> str:
    """For a shell."""
    return "\n".join(shlex.join(line) for line in lines)


def config_text(wanted: WorkspaceSpec) -> str:
    """The config.json of the workspace that comes of it."""
    content = {
        "subscription_id": wanted.subscription,
        "resource_group": wanted.group,
        "workspace_name": wanted.workspace,
    }
    return json.dumps(content, indent=2) + "\n"


def apply(wanted: WorkspaceSpec, config: Path) -> None:
    """Run the lines in order, then write `config`. Raises LookonceError at the first that fails."""
    lines = commands(wanted)
    if config.exists() and config.read_text(encoding="utf-8") != config_text(wanted):
        raise LookonceError(f"{config} is there and names another workspace. Move it away first.")
    if shutil.which("az") is None:
        raise LookonceError(
            "the Azure CLI (az) is not installed; https://aka.ms/azure-cli says how. Without --apply the "
            "lines are printed, for a machine that has it."
        )
    for line in lines:
        print(f"> {shlex.join(line)}", flush=True)
        done = subprocess.run(line, check=False)
        if done.returncode:
            raise LookonceError(
                f"{' '.join(line[:4])} ended with {done.returncode}; its message is above. What was made "
                "before stays; the same command goes on from there."
            )
    write_text(config, config_text(wanted))
