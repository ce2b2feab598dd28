"""The `az` commands that create a workspace: print them, or run them."""

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
    """The workspace to create. An empty `vm_size` creates no cluster."""

    subscription: str
    group: str
    workspace: str
    location: str = "westeurope"
    vm_size: str = "Standard_NC4as_T4_v3"
    max_nodes: int = 1
    low_priority: bool = False


def commands(spec: WorkspaceSpec) -> list[list[str]]:
    """Return the `az` commands as lists of words. Raises LookonceError for names that Azure refuses."""
    if not _NAME.match(spec.workspace):
        raise LookonceError(
            f"{spec.workspace[:60]!r} is not a workspace name; expected 3 to 33 letters, digits and hyphens."
        )
    if not _GROUP.match(spec.group):
        raise LookonceError(
            f"{spec.group[:60]!r} is not a resource group name; expected up to 90 letters, digits, _ - . ( )."
        )
    parameters = [
        f"name={spec.workspace}",
        f"vmSize={spec.vm_size}",
        f"maxNodes={spec.max_nodes}",
        f"lowPriority={str(spec.low_priority).lower()}",
    ]
    return [
        ["az", "account", "set", "--subscription", spec.subscription],
        ["az", "group", "create", "--name", spec.group, "--location", spec.location],
        [
            *("az", "deployment", "group", "create", "--name", f"lookonce-{spec.workspace}"),
            *("--resource-group", spec.group, "--template-file", str(TEMPLATE)),
            *("--parameters", *parameters),
        ],
    ]


def as_text(lines: list[list[str]]) -> str:
    """Return the commands as lines for a shell."""
    return "\n".join(shlex.join(line) for line in lines)


def config_text(spec: WorkspaceSpec) -> str:
    """Return the content of config.json for the new workspace."""
    content = {
        "subscription_id": spec.subscription,
        "resource_group": spec.group,
        "workspace_name": spec.workspace,
    }
    return json.dumps(content, indent=2) + "\n"


def apply(spec: WorkspaceSpec, config: Path) -> None:
    """Run the commands in order, then write `config`. Raises LookonceError at the first that fails."""
    lines = commands(spec)
    if config.exists() and config.read_text(encoding="utf-8") != config_text(spec):
        raise LookonceError(f"{config} exists and names another workspace. Move it away first.")
    if shutil.which("az") is None:
        raise LookonceError(
            "the Azure CLI (az) is not installed: see https://aka.ms/azure-cli. Without --apply the commands "
            "are printed, for a machine that has it."
        )
    for line in lines:
        print(f"> {shlex.join(line)}", flush=True)
        done = subprocess.run(line, check=False)
        if done.returncode:
            raise LookonceError(
                f"{' '.join(line[:4])} exited with {done.returncode}; its message is above. What was created "
                "before is kept; the same command continues."
            )
    write_text(config, config_text(spec))
