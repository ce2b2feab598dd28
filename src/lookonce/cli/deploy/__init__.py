"""`lookonce deploy`: start, list and delete services, and read their logs."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.cli.azure.workspace import add_config_argument
from lookonce.cli.deploy import aci, batch, local, online
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from lookonce.deploy.docker import DockerService
    from lookonce.deploy.local import LocalService

_EXAMPLES = """examples:
  lookonce deploy local outputs/model.onnx --service-name cells
  WEBSERVICE_KEY=secret lookonce deploy local model.onnx --service-name cells --host 0.0.0.0 --workers 2
  lookonce deploy local model.onnx --service-name cells --azure-server --insecure   (Azure's server)
  lookonce deploy list
  lookonce deploy logs cells
  lookonce deploy delete cells
  lookonce deploy online cells:4 --service-name cells     # in Azure; lookonce deploy online -h
  lookonce deploy list --on azure
"""


def add_parser(commands: Any) -> None:
    """Add `deploy` to the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "deploy",
        help="services on this machine or in Azure: start, list, logs, delete",
        description="Start a service that keeps running and is restarted when it crashes.",
        epilog=_EXAMPLES,
        formatter_class=raw,
    )
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="local|online|kubernetes|aci|batch|traffic|list|logs|delete"
    )
    local.add_parser(actions, _EXAMPLES)
    online.add_parsers(actions)
    aci.add_parser(actions)
    batch.add_parser(actions)
    listed = actions.add_parser("list", help="list services and their state")
    listed.add_argument("--show-key", action="store_true", help="with --on azure: also their keys")
    listed.set_defaults(run=_list)
    logs = actions.add_parser("logs", help="show the last lines of a service's log")
    logs.add_argument("name", metavar="NAME")
    logs.add_argument("--lines", type=int, default=50, metavar="N", help="default: 50")
    logs.set_defaults(run=_logs)
    delete = actions.add_parser("delete", help="stop and delete a service, after in-flight requests finish")
    delete.add_argument("name", metavar="NAME")
    delete.set_defaults(run=_delete)
    for one in (logs, delete):
        one.add_argument("--deployment", metavar="NAME", help="one deployment of an endpoint in Azure")
    for one in (listed, logs, delete):
        one.add_argument("--on", choices=("local", "azure"), default="local", help="default: local")
        add_config_argument(one)


def _list(arguments: argparse.Namespace) -> int:
    if arguments.on == "azure":
        from lookonce.cli.deploy.services import show_list

        return show_list(arguments)
    from rich.console import Console
    from rich.table import Table

    from lookonce.deploy.docker import services as in_docker
    from lookonce.deploy.local import services

    both: list[LocalService | DockerService] = [*services(), *in_docker()]
    known = sorted(both, key=lambda one: one.name)
    if not known:
        print("No services on this machine. Start one: lookonce deploy local MODEL --service-name NAME")
        return 0
    table = Table(box=None)
    for heading in ("service", "state", "address", "model", "since", "description"):
        table.add_column(heading, overflow="fold")
    for one in known:
        table.add_row(one.name, one.status, one.url, Path(one.model).name, one.created, one.description)
    Console().print(table)
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    if arguments.on == "azure":
        from lookonce.cli.deploy.services import show_logs

        return show_logs(arguments)
    from lookonce.deploy import docker
    from lookonce.deploy import local as in_background

    count = max(1, arguments.lines)
    contained = _in_docker(arguments.name)
    lines = (
        docker.last_lines(contained, count)
        if contained
        else in_background.last_lines(_here(arguments.name), count)
    )
    print("\n".join(lines))
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    if arguments.on == "azure":
        from lookonce.cli.deploy.services import delete

        return delete(arguments)
    from lookonce.deploy import docker
    from lookonce.deploy import local as in_background

    if contained := _in_docker(arguments.name):
        docker.stop(contained)
    else:
        service = _here(arguments.name)
        in_background.stop(service)
        shutil.rmtree(service.folder, ignore_errors=True)
    print(f"{arguments.name} deleted.")
    return 0


def _in_docker(name: str) -> DockerService | None:
    from lookonce.deploy.docker import services

    return next((one for one in services() if one.name == name), None)


def _here(name: str) -> LocalService:
    from lookonce.deploy.local import find

    try:
        return find(name)
    except LookonceError as error:
        raise LookonceError(f"{error} For those in Azure add --on azure.") from error
