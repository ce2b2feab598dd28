"""`lookonce azure`: check the workspace, create it, follow its jobs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lookonce.cli.azure import jobs
from lookonce.cli.azure.workspace import add_config_argument, needs_azure

_EXAMPLES = """examples:
  lookonce azure check         # config.json, sign-in, workspace, compute, storage: ok, or how to fix it
  lookonce azure provision --subscription ID --resource-group vision --workspace vision  # print az commands
  lookonce azure provision --subscription ID --resource-group vision --workspace vision --apply
  lookonce azure jobs list                                # and watch, download, cancel

sign in with az login, or a service principal: AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET.
"""


def add_parser(commands: Any) -> None:
    """Add `azure` to the command line."""
    parser = commands.add_parser(
        "azure",
        help="the Azure Machine Learning workspace: check it, create it, follow its jobs",
        description="Check what the commands with --on azure need, create it, and follow jobs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|provision|jobs")
    check = actions.add_parser("check", help="check each part: ok, or how to fix it")
    add_config_argument(check)
    check.set_defaults(run=_check)
    provision = actions.add_parser(
        "provision",
        help="print the az commands for resource group, workspace, storage and cluster; --apply runs them",
    )
    provision.add_argument("--subscription", required=True, metavar="ID")
    provision.add_argument("--resource-group", required=True, metavar="NAME")
    provision.add_argument("--workspace", required=True, metavar="NAME")
    provision.add_argument("--location", default="westeurope", help="default: %(default)s")
    provision.add_argument(
        "--vm-size",
        default="Standard_NC4as_T4_v3",
        metavar="SIZE",
        help='default: %(default)s; "": no cluster',
    )
    provision.add_argument("--max-nodes", type=int, default=1, metavar="N", help="default: 1; it scales to 0")
    provision.add_argument(
        "--low-priority", action="store_true", help="cheaper machines, which may be preempted"
    )
    provision.add_argument("--apply", action="store_true", help="run the commands, write config.json")
    provision.set_defaults(run=_provision)
    jobs.add_parser(actions)


def _check(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    with needs_azure():
        from lookonce.azure.check import check
    console = Console(highlight=False)
    failed = 0
    for line in check(arguments.config):
        failed += not line.ok
        mark = "[green]ok[/]" if line.ok else "[red]--[/]"
        console.print(f"{mark}  [bold]{line.what:<12}[/]", end="")
        console.print(line.text, markup=False, soft_wrap=True)
    return 1 if failed else 0


def _provision(arguments: argparse.Namespace) -> int:
    from lookonce.azure.provision import WorkspaceSpec, apply, as_text, commands, config_text

    spec = WorkspaceSpec(
        arguments.subscription,
        arguments.resource_group,
        arguments.workspace,
        arguments.location,
        arguments.vm_size,
        arguments.max_nodes,
        arguments.low_priority,
    )
    config = Path("config.json")
    if arguments.apply:
        apply(spec, config)
        print(f"Created. {config} names it; check it with: lookonce azure check")
    else:
        print(as_text(commands(spec)))
        print(f"\n# then, in {config}:\n{config_text(spec)}", end="")
    return 0
