"""`lookonce deploy`: a service that goes on running, its logs, and its end."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.cli import deploy_aci, deploy_azure, deploy_batch
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from lookonce.deploy.docker import DockerService
    from lookonce.deploy.local import LocalService

_EXAMPLES = """examples:
  lookonce deploy local outputs/model.onnx --service-name cells
  WEBSERVICE_KEY=secret lookonce deploy local model.onnx --service-name cells --host 0.0.0.0 --workers 2
  lookonce deploy local model.onnx --service-name cells --azure-server --insecure   (Azure's own)
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
        help="a service that goes on running, here or in Azure: start, list, logs, delete",
        description="Start a service that goes on running and is started again when it dies.",
        epilog=_EXAMPLES,
        formatter_class=raw,
    )
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="local|online|kubernetes|aci|batch|traffic|list|logs|delete"
    )
    local = actions.add_parser(
        "local", help="on this machine, in the background", epilog=_EXAMPLES, formatter_class=raw
    )
    local.add_argument("model", metavar="MODEL", type=Path, help="a .onnx or .keras model")
    local.add_argument("--service-name", required=True, metavar="NAME")
    local.add_argument("--description", default="", metavar="TEXT")
    local.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    local.add_argument("--port", type=int, default=0, help="default: a free one")
    local.add_argument("--workers", type=int, default=1, metavar="N")
    local.add_argument("--key-env", default="WEBSERVICE_KEY", metavar="NAME", help="variable with the key")
    local.add_argument("--insecure", action="store_true", help="no key, though others can reach it")
    local.add_argument(
        "--azure-server",
        nargs="?",
        const="azmlinfsrv",
        metavar="FILE",
        help="serve with azureml-inference-server-http, as Azure does (default: the azmlinfsrv on the path)",
    )
    local.add_argument("--docker", action="store_true", help="in a container, of an image that is built here")
    local.set_defaults(run=_local)
    deploy_azure.add_parsers(actions)
    deploy_aci.add_parser(actions)
    deploy_batch.add_parser(actions)
    listed = actions.add_parser("list", help="services and their state")
    listed.add_argument("--show-key", action="store_true", help="with --on azure: their keys, too")
    listed.set_defaults(run=_list)
    logs = actions.add_parser("logs", help="the last lines that a service wrote")
    logs.add_argument("name", metavar="NAME")
    logs.add_argument("--lines", type=int, default=50, metavar="N", help="default: 50")
    logs.set_defaults(run=_logs)
    delete = actions.add_parser("delete", help="end a service: what is inside is answered first")
    delete.add_argument("name", metavar="NAME")
    delete.set_defaults(run=_delete)
    for one in (logs, delete):
        one.add_argument("--deployment", metavar="NAME", help="one deployment of an endpoint in Azure")
    for one in (listed, logs, delete):
        one.add_argument("--on", choices=("local", "azure"), default="local", help="default: local")
        one.add_argument("--config", type=Path, metavar="FILE|DIR", help="the workspace's config.json")


def _local(arguments: argparse.Namespace) -> int:
    from lookonce.deploy.docker import services as in_docker
    from lookonce.deploy.local import check_name, describe, free_port, serve_command, start

    check_name(arguments.service_name)
    model = arguments.model.resolve()
    if not model.exists():
        raise LookonceError(f"{arguments.model}: no such file. Give a model's file.")
    if arguments.service_name in {one.name for one in in_docker()}:
        raise LookonceError(
            f"service {arguments.service_name} is there already, in Docker. Delete it first: lookonce deploy "
            f"delete {arguments.service_name}"
        )
    port = free_port(arguments.host, arguments.port)
    if arguments.docker:
        from lookonce.cli import deploy_docker

        return _tell(arguments, arguments.service_name, deploy_docker.start(arguments, model, port))
    ready = "/ready"
    if arguments.azure_server:
        if not arguments.insecure:
            raise LookonceError(
                "Azure's server listens on every address of this machine and asks for no key; in Azure the "
                "endpoint before it does. Add --insecure if that is right here."
            )
        command, ready = _azure_server(arguments.azure_server, port), "/"
    else:
        more = ["--workers", str(arguments.workers), "--key-env", arguments.key_env]
        more += ["--insecure"] if arguments.insecure else []
        command = serve_command(model, arguments.host, port, more)
    service = describe(
        arguments.service_name,
        model,
        command,
        arguments.host,
        port,
        ready=ready,
        description=arguments.description,
    )
    environment = {**os.environ, "LOOKONCE_MODEL": str(model)}
    done = start(service, environment)
    return _tell(arguments, done.name, done.url)


def _tell(arguments: argparse.Namespace, name: str, url: str) -> int:
    key = " with the key in " + arguments.key_env if os.environ.get(arguments.key_env) else ""
    print(f"{name} is ready: {url}")
    print(f"Ask it{key}: lookonce score photo.jpg --uri {url}")
    print(f"End it: lookonce deploy delete {name}")
    return 0


def _azure_server(program: str, port: int) -> list[str]:
    from lookonce.serving.protocols.azure import __file__ as package

    found = shutil.which(program)
    if found is None:
        raise LookonceError(
            f"{program} is not installed. In an environment of its own, for its versions are older ones: pip "
            "install lookonce azureml-inference-server-http; then --azure-server ENVIRONMENT/bin/azmlinfsrv"
        )
    entry = Path(package).with_name("score_script.py")
    return [found, "--entry_script", str(entry), "--port", str(port)]


def _list(arguments: argparse.Namespace) -> int:
    if arguments.on == "azure":
        from lookonce.cli.deploy_services import show_list

        return show_list(arguments)
    from rich.console import Console
    from rich.table import Table

    from lookonce.deploy.docker import services as in_docker
    from lookonce.deploy.local import services

    both: list[LocalService | DockerService] = [*services(), *in_docker()]
    known = sorted(both, key=lambda one: one.name)
    if not known:
        print("No services on this machine. lookonce deploy local MODEL --service-name NAME")
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
        from lookonce.cli.deploy_services import show_logs

        return show_logs(arguments)
    from lookonce.deploy import docker, local

    count = max(1, arguments.lines)
    contained = _in_docker(arguments.name)
    lines = (
        docker.last_lines(contained, count) if contained else local.last_lines(_here(arguments.name), count)
    )
    print("\n".join(lines))
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    if arguments.on == "azure":
        from lookonce.cli.deploy_services import delete

        return delete(arguments)
    from lookonce.deploy import docker, local

    if contained := _in_docker(arguments.name):
        docker.stop(contained)
    else:
        service = _here(arguments.name)
        local.stop(service)
        shutil.rmtree(service.folder, ignore_errors=True)
    print(f"{arguments.name} is deleted.")
    return 0


def _in_docker(name: str) -> DockerService | None:
    from lookonce.deploy.docker import services

    return next((one for one in services() if one.name == name), None)


def _here(name: str) -> LocalService:
    from lookonce.deploy.local import find

    try:
        return find(name)
    except LookonceError as error:
        raise LookonceError(f"{error} Those in Azure: --on azure") from error
