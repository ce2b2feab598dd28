"""`lookonce azure`: is everything there, and make what is missing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_EXAMPLES = """examples:
  lookonce azure check         # config.json, sign-in, workspace, compute, storage: each ok, or what to do

sign in with az login, or a service principal: AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET.
"""


def add_parser(commands: Any) -> None:
    """Add `azure` to the command line."""
    parser = commands.add_parser(
        "azure",
        help="the Azure Machine Learning workspace: check it",
        description="Check what the commands with --on azure need.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="check")
    check = actions.add_parser("check", help="each part: ok, or what to do")
    check.add_argument("--config", type=Path, metavar="FILE|DIR", help="the workspace's config.json")
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from lookonce.cli.azure_extra import needs_azure

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
