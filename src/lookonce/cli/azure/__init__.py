"""`lookonce azure`: is everything there, and make what is missing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lookonce.cli.azure import jobs
from lookonce.cli.azure.workspace import add_config_argument, needs_azure

_EXAMPLES = """examples:
  lookonce azure check         # config.json, sign-in, workspace, compute, storage: each ok, or what to do
  lookonce azure provision --subscription ID --resource-group vision --workspace vision    # prints az lines
  lookonce azure provision --subscription ID --resource-group vision --workspace vision --apply
  lookonce azure jobs list                                # and watch, download, cancel

sign in with az login, or a service principal: AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET.
"""


def add_parser(commands: Any) -> None:
    """Add `azure` to the command line."""
    parser = commands.add_parser(
        "azure",
        help="the Azure Machine Learning workspace: check it, make it, its jobs",
        description="Check what the commands with --on azure need, make it, and follow its jobs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|provision|jobs")
    check = actions.add_parser("check", help="each part: ok, or what to do")
    add_config_argument(check)
    check.set_defaults(run=_check)
    provision = actions.add_parser(
        "provision",
        help="the az lines that make resource group, workspace, storage and cluster; --apply runs them",
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
        "--low-priority", action="store_true", help="cheaper machines, which may be taken back"
    )
    provision.add_argument("--apply", action="store_true", help="run the lines (with az), write config.json")
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

    wanted = WorkspaceSpec(
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
        apply(wanted, config)
        print(f"Made; {config} names it. Look with: lookonce azure check")
    else:
        print(as_text(commands(wanted)))
        print(f"\n# then, as {config}:\n{config_text(wanted)}", end="")
    return 0
