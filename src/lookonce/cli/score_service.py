"""`lookonce score --service NAME`: find a deployed service, or run a job of a batch endpoint."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.cli.drawn_copies import names_of
from lookonce.errors import LookonceError
from lookonce.serving.client.failures import ImageFailedError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from lookonce.azure.deployment.services import Service


@dataclass(frozen=True)
class NamedService:
    """A service found by name: its URL, and its key if the workspace stores it; or a batch endpoint."""

    uri: str
    key: str | None = None
    client: MLClient | None = None
    batch: Service | None = None


def add_arguments(group: Any) -> None:
    """Add the flags that select a service."""
    group.add_argument(
        "--service",
        metavar="NAME",
        help="a service created by lookonce deploy; in Azure its key is looked up",
    )
    group.add_argument(
        "--on",
        choices=("local", "azure"),
        help="where --service runs (default: locally if there is one of that name, else in Azure)",
    )
    group.add_argument(
        "--job", metavar="NAME", help="for a batch endpoint: read the results of an earlier job"
    )
    group.add_argument("--config", type=Path, metavar="FILE|DIR", help="the workspace's config.json")


def find_service(arguments: argparse.Namespace) -> NamedService:
    """Find the service that --service names. Raises LookonceError."""
    if arguments.uri:
        raise LookonceError("--uri and --service both select a service. Pass one of them.")
    from lookonce.deploy import docker, local

    local_services = {one.name: one.url for one in local.services()}
    local_services |= {one.name: one.url for one in docker.services()}
    if arguments.on != "azure" and arguments.service in local_services:
        return NamedService(local_services[arguments.service])
    if arguments.on == "local":
        return NamedService(local.find(arguments.service).url)
    from lookonce.cli.azure.workspace import open_client

    client = open_client(arguments.config)
    from lookonce.azure.deployment.services import find_service, key

    service = find_service(client, arguments.service)
    if service.kind == "batch":
        return NamedService("", None, client, service)
    if not service.address:
        raise LookonceError(
            f"{service.name} has no address: its state is {service.state}. See lookonce deploy logs "
            f"{service.name} --on azure."
        )
    return NamedService(service.address, key(client, service), client)


class BatchResults:
    """The results of a finished job, with the interface of a client of `/score`."""

    def __init__(self, names: dict[Path, str], rows: dict[str, dict[str, Any]]) -> None:
        self._names, self._rows = names, rows

    def score(self, image: Path) -> dict[str, Any]:
        """Return a file's detections. Raises ImageFailedError."""
        row = self._rows.get(self._names[image])
        if row is None:
            raise ImageFailedError(f"{image}: the job has no result for it. See the job's log.")
        if "error" in row:
            # The path on the node is meaningless here.
            raise ImageFailedError(f"{image}: {str(row['error']).rpartition(image.name)[2].lstrip(': ')}")
        return {"filename": image.name, **{key: row[key] for key in ("width", "height", "boxes")}}

    def classes(self) -> list[str]:
        """Return nothing: a job does not list its classes."""
        return []


def run_batch(arguments: argparse.Namespace, named: NamedService, images: list[Path]) -> BatchResults:
    """Run a job over the images and wait for it. Raises LookonceError."""
    assert named.client is not None
    assert named.batch is not None
    if arguments.bench:
        raise LookonceError(f"{named.batch.name} is a batch endpoint; --bench measures online services only.")
    if arguments.conf is not None or arguments.iou is not None:
        raise LookonceError(
            f"{named.batch.name} is a batch endpoint, whose thresholds are set by lookonce deploy batch "
            "--conf --iou. Leave them out here."
        )
    from lookonce.azure.deployment import batch_jobs
    from lookonce.cli.deploy.services import deployment_stages

    names = names_of(images)
    by_name = {name: path for path, name in names.items()}
    with deployment_stages(out=sys.stderr if arguments.json == "-" else None) as (stages, _):
        if arguments.job:
            batch_jobs.wait(named.client, arguments.job, stages)
            rows = batch_jobs.read(named.client, arguments.job, by_name)
        else:
            rows = batch_jobs.score(named.client, named.batch.name, arguments.deployment, by_name, stages)
    return BatchResults(names, rows)
