"""`lookonce deploy list|logs|delete --on azure`: the workspace's services of every kind."""

from __future__ import annotations

import argparse
import sys

from lookonce.cli.deploy_azure import deploying, workspace


def show_list(arguments: argparse.Namespace) -> int:
    """`lookonce deploy list --on azure`."""
    from rich.console import Console
    from rich.table import Table

    client = workspace(arguments.config)
    from lookonce.azure.deployment.services import key, list_services

    known, unseen = list_services(client)
    for reason in unseen:
        print(f"lookonce: some can't be seen: {reason}", file=sys.stderr)
    if not known:
        print(
            f"No services in workspace {client.workspace_name}. "
            "lookonce deploy online MODEL --service-name NAME"
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
    """`lookonce deploy logs NAME --on azure`."""
    client = workspace(arguments.config)
    from lookonce.azure.deployment.services import find_service, logs

    said = logs(client, find_service(client, arguments.name), arguments.deployment, max(1, arguments.lines))
    for name, lines in said.items():
        if len(said) > 1:
            print(f"{name}:")
        print("\n".join(lines or ["(no log yet)"]))
    return 0


def delete(arguments: argparse.Namespace) -> int:
    """`lookonce deploy delete NAME --on azure`."""
    client = workspace(arguments.config)
    from lookonce.azure.deployment import services

    service = services.find_service(client, arguments.name)
    doing = f"deleting {arguments.deployment or service.name}"
    with deploying(service.name) as (stages, _), stages.stage(doing, doing) as stage:
        stage.result = f"{services.delete(client, service, arguments.deployment)} is deleted"
    return 0
