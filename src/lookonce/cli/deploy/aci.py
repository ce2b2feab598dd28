"""`lookonce deploy aci`: a container instance in Azure, its image built in the workspace's registry."""

from __future__ import annotations

import argparse
import os
import secrets
from typing import Any

from lookonce.cli.azure.workspace import open_client
from lookonce.cli.deploy.services import deploying, print_ready, service_parser
from lookonce.errors import LookonceError

_KEY = "WEBSERVICE_KEY"


def add_parser(actions: Any) -> None:
    """Add `aci`."""
    aci = service_parser(actions, "aci", "a container instance in Azure: one machine, no TLS")
    aci.add_argument("--cpu", type=float, default=1.0, metavar="CORES", help="default: 1")
    aci.add_argument("--memory", type=float, default=6.0, metavar="GB", help="default: 6")
    aci.add_argument(
        "--dns-label", metavar="LABEL", help="address LABEL.REGION.azurecontainer.io (default: an IP address)"
    )
    aci.add_argument("--show-key", action="store_true", help=f"print the key: ${_KEY}, or a generated one")
    aci.set_defaults(run=_aci)


def _aci(arguments: argparse.Namespace) -> int:
    service, given = arguments.service_name, os.environ.get(_KEY)
    if given is not None and (not given.strip() or not given.isprintable()):
        raise LookonceError(
            f"{_KEY} is empty, or has characters that a header cannot carry. Set it to a key."
        )
    client = open_client(arguments.config)
    from lookonce.azure.deployment.aci import ContainerSize, deploy, find_build_registry
    from lookonce.azure.deployment.containers import check
    from lookonce.azure.deployment.prepare import prepare

    check(service, arguments.cpu, arguments.memory, arguments.dns_label)
    key = given or secrets.token_urlsafe(32)
    with deploying(service) as (stages, folder):
        registry = find_build_registry(client, service)
        ready = prepare(client, arguments.model, service, None, arguments.image, folder, stages)
        address = deploy(
            client,
            service,
            ready,
            registry,
            key,
            ContainerSize(arguments.cpu, arguments.memory, arguments.dns_label),
            arguments.description,
            not given and not arguments.show_key,
            folder,
            stages,
        )
    return print_ready(service, address, "photo.jpg", key if arguments.show_key else None)
