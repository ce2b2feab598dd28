"""`lookonce deploy online|kubernetes|traffic`, and what all of Azure's kinds of service have in common."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lookonce.cli.azure_extra import needs_azure
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from lookonce.azure.deployment.stages import Stages

_EXAMPLES = """examples:
  lookonce deploy online outputs/model.keras --service-name cells
  lookonce deploy online cells:4 --service-name cells --image slide.jpg --traffic 10
  lookonce deploy traffic cells green=100
  lookonce deploy kubernetes cells:4 --service-name cells-k8s --compute my-cluster
  lookonce score photo.jpg --service cells
  lookonce deploy logs cells --on azure
  lookonce deploy delete cells --on azure

The model is tried here first, then served beside the old one without traffic, asked about an image, and
only then used. config.json names the workspace.
"""


def add_parsers(actions: Any) -> None:
    """Add what `lookonce deploy` does in Azure."""
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
            help="serve by `lookonce serve` in an image that the workspace builds, or in IMAGE (port 8080, "
            "no key asked); default: our score.py in Azure's inference server",
        )
        one.add_argument(
            "--traffic", type=int, default=100, metavar="PERCENT", help="for the new model (default: 100)"
        )
        one.add_argument("--keep-old", action="store_true", help="leave the old deployment there, unused")
        one.add_argument("--show-key", action="store_true", help="print the service's key")
        one.set_defaults(run=_online)
    traffic = actions.add_parser("traffic", help="share an endpoint's traffic among its deployments")
    traffic.add_argument("name", metavar="NAME")
    traffic.add_argument("shares", nargs="+", metavar="DEPLOYMENT=PERCENT")
    traffic.add_argument("--config", type=Path, metavar="FILE|DIR", help="the workspace's config.json")
    traffic.set_defaults(run=_traffic)


def service_parser(actions: Any, name: str, about: str) -> argparse.ArgumentParser:
    """One of the commands that make a service of MODEL."""
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=about, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help=".onnx, .keras, or a registered NAME[:VERSION|:ALIAS]")
    parser.add_argument("--service-name", required=True, metavar="NAME")
    parser.add_argument("--description", default="", metavar="TEXT")
    parser.add_argument("--image", type=Path, metavar="FILE", help="to try it on (default: a drawn one)")
    parser.add_argument("--config", type=Path, metavar="FILE|DIR", help="the workspace's config.json")
    return parser


def workspace(config: Path | None) -> MLClient:
    """The client of the workspace that config.json names. Raises LookonceError."""
    with needs_azure():
        from lookonce.azure.session import find_config, open_workspace
    return open_workspace(find_config(config))


def deploying(service: str) -> AbstractContextManager[tuple[Stages, Path]]:
    """`deployment_stages`, with where to look at a service and how to end it."""
    return deployment_stages(
        f". Check it with lookonce deploy list --on azure and lookonce deploy logs {service} --on azure; "
        f"delete it with lookonce deploy delete {service} --on azure"
    )


@contextmanager
def deployment_stages(advice: str = "", out: TextIO | None = None) -> Iterator[tuple[Stages, Path]]:
    """Stages, and a folder while they last; on Ctrl-C what Azure goes on with, and `advice`."""
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


def _online(arguments: argparse.Namespace) -> int:
    from lookonce.deploy.local import check_name

    service = arguments.service_name
    compute = arguments.compute if arguments.action == "kubernetes" else None
    check_name(service)
    if not 1 <= arguments.traffic <= 100:
        raise LookonceError(f"--traffic is {arguments.traffic}; expected 1 to 100 percent.")
    if arguments.instances < 1:
        raise LookonceError(f"--instances is {arguments.instances}; expected 1 or more.")
    client = workspace(arguments.config)
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


def print_ready(service: str, address: str, images: str, key: str | None) -> int:
    """How to use and end a service; its key if it is given."""
    print(f"{service} is ready: {address}")
    print(f"Ask it: lookonce score {images} --service {service}")
    if key:
        print(f"Its key: {key}")
    print(f"End it: lookonce deploy delete {service} --on azure")
    return 0


def _traffic(arguments: argparse.Namespace) -> int:
    shares = dict(map(_share, arguments.shares))
    if sum(shares.values()) != 100:
        raise LookonceError(f"the shares sum up to {sum(shares.values())} percent; expected 100.")
    client = workspace(arguments.config)
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
        stage.result = f"the traffic of {arguments.name} goes to {describe_shares(shares)}"
    return 0


def _share(text: str) -> tuple[str, int]:
    name, equals, percent = text.partition("=")
    if not name or not equals or not percent.isdecimal() or int(percent) > 100:
        raise LookonceError(f"{text[:60]!r} is no DEPLOYMENT=PERCENT, such as green=100.")
    return name, int(percent)
