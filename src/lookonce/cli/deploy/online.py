"""`lookonce deploy online|kubernetes|traffic`: an online endpoint in Azure, and its traffic."""

from __future__ import annotations

import argparse
from typing import Any

from lookonce.cli.azure.workspace import add_config_argument, open_client
from lookonce.cli.deploy.services import deploying, print_ready, service_parser
from lookonce.errors import LookonceError


def add_parsers(actions: Any) -> None:
    """Add `online`, `kubernetes` and `traffic`."""
    online = service_parser(actions, "online", "a managed online endpoint in Azure, or a new model for it")
    online.add_argument(
        "--instance-type", default="Standard_DS3_v2", metavar="SIZE", help="machine (default: %(default)s)"
    )
    kubernetes = service_parser(actions, "kubernetes", "an online endpoint on an attached Kubernetes cluster")
    kubernetes.add_argument("--compute", required=True, metavar="NAME", help="the cluster, as attached")
    kubernetes.add_argument("--instance-type", metavar="NAME", help="an instance type of the cluster")
    for one in (online, kubernetes):
        one.add_argument("--instances", type=int, default=1, metavar="N", help="default: 1")
        one.add_argument(
            "--container",
            nargs="?",
            const="",
            metavar="IMAGE",
            help="serve with `lookonce serve` in an image that the workspace builds, or in IMAGE (port 8080, "
            "no key); default: an entry script in Azure's inference server",
        )
        one.add_argument(
            "--traffic", type=int, default=100, metavar="PERCENT", help="for the new model (default: 100)"
        )
        one.add_argument("--keep-old", action="store_true", help="keep the old deployment, unused")
        one.add_argument("--show-key", action="store_true", help="print the service's key")
        one.set_defaults(run=_online)
    traffic = actions.add_parser("traffic", help="set the shares of an endpoint's traffic")
    traffic.add_argument("name", metavar="NAME")
    traffic.add_argument("shares", nargs="+", metavar="DEPLOYMENT=PERCENT")
    add_config_argument(traffic)
    traffic.set_defaults(run=_traffic)


def _online(arguments: argparse.Namespace) -> int:
    from lookonce.deploy.local import check_name

    service = arguments.service_name
    compute = arguments.compute if arguments.action == "kubernetes" else None
    check_name(service)
    if not 1 <= arguments.traffic <= 100:
        raise LookonceError(f"--traffic is {arguments.traffic}; expected 1 to 100 percent.")
    if arguments.instances < 1:
        raise LookonceError(f"--instances is {arguments.instances}; expected 1 or more.")
    client = open_client(arguments.config)
    from lookonce.azure.deployment import services
    from lookonce.azure.deployment.online import OnlineSpec, OnlineTarget, inspect_endpoint
    from lookonce.azure.deployment.prepare import ONLINE_SCRIPT, prepare
    from lookonce.azure.deployment.rollout import roll_out
    from lookonce.azure.environments import ServingMode

    if arguments.container is None:
        mode = ServingMode(ONLINE_SCRIPT)
    else:
        mode = ServingMode(image=arguments.container or None)
    with deploying(service) as (stages, folder):
        state = inspect_endpoint(client, service, compute)
        if state.current is None and arguments.traffic < 100:
            raise LookonceError(f"{service} has no other deployment yet; leave --traffic out.")
        prepared = prepare(client, arguments.model, service, mode, arguments.image, folder, stages)
        spec = OnlineSpec(
            service,
            prepared.model,
            prepared.environment,
            mode,
            prepared.code,
            arguments.description,
            compute,
            arguments.instance_type,
            arguments.instances,
            arguments.traffic,
            arguments.keep_old,
        )
        address = roll_out(OnlineTarget(client, spec, prepared.image), state, stages)
    key = services.key(client, services.find_service(client, service)) if arguments.show_key else None
    return print_ready(service, address, "photo.jpg", key)


def _traffic(arguments: argparse.Namespace) -> int:
    shares = dict(map(_share, arguments.shares))
    if sum(shares.values()) != 100:
        raise LookonceError(f"the shares sum to {sum(shares.values())} percent; expected 100.")
    client = open_client(arguments.config)
    from lookonce.azure.deployment.online import describe_shares, find_endpoint, set_traffic
    from lookonce.azure.deployment.services import service_missing

    endpoint = find_endpoint(client, arguments.name)
    if endpoint is None:
        raise service_missing(client, arguments.name)
    if unknown := sorted(set(shares) - set(endpoint.traffic)):
        has = ", ".join(sorted(endpoint.traffic)) or "none"
        raise LookonceError(f"{arguments.name} has no deployment {unknown[0]!r}; it has {has}.")
    with (
        deploying(arguments.name) as (stages, _),
        stages.stage("moving the traffic", "moving the traffic") as stage,
    ):
        set_traffic(client, arguments.name, shares)
        stage.result = f"traffic of {arguments.name} goes to {describe_shares(shares)}"
    return 0


def _share(text: str) -> tuple[str, int]:
    name, equals, percent = text.partition("=")
    if not name or not equals or not percent.isdecimal() or int(percent) > 100:
        raise LookonceError(f"{text[:60]!r} is not DEPLOYMENT=PERCENT, such as green=100.")
    return name, int(percent)
