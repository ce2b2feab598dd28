"""`lookonce score --service NAME`: the address and the key of a service that `lookonce deploy` made."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from lookonce.azure.deployment.services import Service


@dataclass(frozen=True)
class Named:
    """What a name stands for: an address, and a key if the workspace keeps it; or a batch endpoint."""

    uri: str
    key: str | None = None
    client: MLClient | None = None
    batch: Service | None = None


def add_arguments(group: Any) -> None:
    """The flags that name a service."""
    group.add_argument(
        "--service", metavar="NAME", help="one that lookonce deploy made; in Azure its key is found, too"
    )
    group.add_argument(
        "--on",
        choices=("local", "azure"),
        help="where --service is (default: here if there is one of that name, else in Azure)",
    )
    group.add_argument(
        "--job", metavar="NAME", help="of a batch endpoint: the answers of a job that it was given before"
    )
    group.add_argument("--config", type=Path, metavar="FILE|DIR", help="the workspace's config.json")


def find_named(arguments: argparse.Namespace) -> Named:
    """The service that --service names. Raises LookonceError."""
    if arguments.uri:
        raise LookonceError("--uri and --service both name a service. Give one of them.")
    from lookonce.deploy import docker, local

    here = {one.name: one.url for one in local.services()}
    here |= {one.name: one.url for one in docker.services()}
    if arguments.on != "azure" and arguments.service in here:
        return Named(here[arguments.service])
    if arguments.on == "local":
        return Named(local.find(arguments.service).url)
    from lookonce.cli.azure.workspace import open_client

    client = open_client(arguments.config)
    from lookonce.azure.deployment.services import find_service, key

    service = find_service(client, arguments.service)
    if service.kind == "batch":
        return Named("", None, client, service)
    if not service.address:
        raise LookonceError(
            f"{service.name} has no address: it is {service.state}. lookonce deploy logs {service.name} "
            "--on azure tells more."
        )
    return Named(service.address, key(client, service), client)
