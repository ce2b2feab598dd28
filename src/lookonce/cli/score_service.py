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

    from lookonce.azure.services import Service


@dataclass(frozen=True)
class NamedService:
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
        "--job", metavar="NAME", help="of a batch endpoint: the results of a job that it was given before"
    )
    group.add_argument("--config", type=Path, metavar="FILE|DIR", help="the workspace's config.json")


def find_service(arguments: argparse.Namespace) -> NamedService:
    """The service that --service names. Raises LookonceError."""
    if arguments.uri:
        raise LookonceError("--uri and --service both name a service. Give one of them.")
    from lookonce.deploy import docker, local

    here = {one.name: one.url for one in local.services()}
    here |= {one.name: one.url for one in docker.services()}
    if arguments.on != "azure" and arguments.service in here:
        return NamedService(here[arguments.service])
    if arguments.on == "local":
        return NamedService(local.find(arguments.service).url)
    from lookonce.cli.deploy_azure import workspace

    client = workspace(arguments.config)
    from lookonce.azure.services import found, key

    service = found(client, arguments.service)
    if service.kind == "batch":
        return NamedService("", None, client, service)
    if not service.address:
        raise LookonceError(
            f"{service.name} has no address: it is {service.state}. lookonce deploy logs {service.name} "
            "--on azure tells more."
        )
    return NamedService(service.address, key(client, service), client)


class BatchResults:
    """The results of a job that has ended, with the face of a client of `/score`."""

    def __init__(self, names: dict[Path, str], rows: dict[str, dict[str, Any]]) -> None:
        self._names, self._rows = names, rows

    def score(self, image: Path) -> dict[str, Any]:
        """A file's result. Raises ImageFailedError."""
        row = self._rows.get(self._names[image])
        if row is None:
            raise ImageFailedError(f"{image}: the job has no result. Its log may tell why.")
        if "error" in row:
            # The node's own path says nothing here.
            raise ImageFailedError(f"{image}: {str(row['error']).rpartition(image.name)[2].lstrip(': ')}")
        return {"filename": image.name, **{key: row[key] for key in ("width", "height", "boxes")}}

    def classes(self) -> list[str]:
        """Not told by a job."""
        return []


def run_batch(arguments: argparse.Namespace, named: NamedService, images: list[Path]) -> BatchResults:
    """Run a job over the images, and wait for its end. Raises LookonceError."""
    assert named.client is not None
    assert named.batch is not None
    if arguments.bench:
        raise LookonceError(
            f"{named.batch.name} is a batch endpoint; --bench measures those that result at once."
        )
    if arguments.conf is not None or arguments.iou is not None:
        raise LookonceError(
            f"{named.batch.name} is a batch endpoint, which has its thresholds from lookonce deploy batch "
            "--conf --iou. Leave them out here."
        )
    from lookonce.azure import batch_jobs
    from lookonce.cli.deploy_azure import telling

    names = names_of(images)
    by_name = {name: path for path, name in names.items()}
    with telling(out=sys.stderr if arguments.json == "-" else None) as (stages, _):
        if arguments.job:
            batch_jobs.wait(named.client, arguments.job, stages)
            rows = batch_jobs.read(named.client, arguments.job, by_name)
        else:
            rows = batch_jobs.score(named.client, named.batch.name, arguments.deployment, by_name, stages)
    return BatchResults(names, rows)
