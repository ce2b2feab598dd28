"""Shared code of the deploy commands for Azure, and `lookonce deploy list|logs|delete --on azure`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lookonce.cli.azure.workspace import add_config_argument, needs_azure, open_client

if TYPE_CHECKING:
    from lookonce.azure.deployment.stages import Stages

_EXAMPLES = """examples:
  lookonce deploy online outputs/model.keras --service-name cells
  lookonce deploy online cells:4 --service-name cells --image slide.jpg --traffic 10
  lookonce deploy traffic cells green=100
  lookonce deploy kubernetes cells:4 --service-name cells-k8s --compute my-cluster
  lookonce score photo.jpg --service cells
  lookonce deploy logs cells --on azure
  lookonce deploy delete cells --on azure

The model is checked on this machine, deployed beside the old one without traffic, tested with an image, and
only then used. config.json names the workspace.
"""


def service_parser(actions: Any, name: str, about: str) -> argparse.ArgumentParser:
    """Return the parser of a command that deploys MODEL."""
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=about, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help=".onnx, .keras, or a registered NAME[:VERSION|:ALIAS]")
    parser.add_argument("--service-name", required=True, metavar="NAME")
    parser.add_argument("--description", default="", metavar="TEXT")
    parser.add_argument(
        "--image", type=Path, metavar="FILE", help="image for the tests (default: a drawn one)"
    )
    add_config_argument(parser)
    return parser


def deploying(service: str) -> AbstractContextManager[tuple[Stages, Path]]:
    """Return `deployment_stages` with hints on how to check and delete the service."""
    return deployment_stages(
        f". Check it with lookonce deploy list --on azure and lookonce deploy logs {service} --on azure; "
        f"delete it with lookonce deploy delete {service} --on azure"
    )


@contextmanager
def deployment_stages(advice: str = "", out: TextIO | None = None) -> Iterator[tuple[Stages, Path]]:
    """Yield stages and a temporary folder; on Ctrl-C print what Azure continues with, and `advice`."""
    with needs_azure():
        from lookonce.azure.deployment.stages import Stages
    stages = Stages(out)
    try:
        with tempfile.TemporaryDirectory(prefix="lookonce-") as folder:
            yield stages, Path(folder)
    except KeyboardInterrupt:
        if stages.going_on:
            print(f"\nlookonce: Azure continues {stages.going_on}{advice}", file=sys.stderr)
        elif stages.left:
            print(f"\nlookonce: left in Azure: {stages.left}{advice}", file=sys.stderr)
        raise


def print_ready(service: str, address: str, images: str, key: str | None) -> int:
    """Print how to use and delete a service, and its key if given; return 0."""
    print(f"{service} is ready: {address}")
    print(f"Try it: lookonce score {images} --service {service}")
    if key:
        print(f"Key: {key}")
    print(f"Delete it: lookonce deploy delete {service} --on azure")
    return 0


def show_list(arguments: argparse.Namespace) -> int:
    """Run `lookonce deploy list --on azure`."""
    from rich.console import Console
    from rich.table import Table

    client = open_client(arguments.config)
    from lookonce.azure.deployment.services import key, list_services

    known, errors = list_services(client)
    for reason in errors:
        print(f"lookonce: some services cannot be listed: {reason}", file=sys.stderr)
    if not known:
        print(
            f"No services in workspace {client.workspace_name}. "
            "Start one: lookonce deploy online MODEL --service-name NAME"
        )
        return 0
    table = Table(box=None)
    keys = ("key",) if arguments.show_key else ()
    for heading in ("service", "kind", "state", "deployments", "address", *keys, "description"):
        table.add_column(heading, overflow="fold")
    for one in known:
        shown = (key(client, one) or "",) if arguments.show_key else ()
        table.add_row(one.name, one.kind, one.state, one.deployments, one.address, *shown, one.description)
    console = Console()
    (console if console.is_terminal else Console(width=400)).print(table)
    return 0


def show_logs(arguments: argparse.Namespace) -> int:
    """Run `lookonce deploy logs NAME --on azure`."""
    client = open_client(arguments.config)
    from lookonce.azure.deployment.services import find_service, logs

    shown = logs(client, find_service(client, arguments.name), arguments.deployment, max(1, arguments.lines))
    for name, lines in shown.items():
        if len(shown) > 1:
            print(f"{name}:")
        print("\n".join(lines or ["(no log yet)"]))
    return 0


def delete(arguments: argparse.Namespace) -> int:
    """Run `lookonce deploy delete NAME --on azure`."""
    client = open_client(arguments.config)
    from lookonce.azure.deployment import services

    service = services.find_service(client, arguments.name)
    doing = f"deleting {arguments.deployment or service.name}"
    with deploying(service.name) as (stages, _), stages.stage(doing, doing) as stage:
        stage.result = f"{services.delete(client, service, arguments.deployment)} deleted"
    return 0
