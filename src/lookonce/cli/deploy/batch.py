"""`lookonce deploy batch`: an endpoint in Azure that scores folders on a cluster."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lookonce.cli.azure.workspace import open_client
from lookonce.cli.deploy.services import deploying, print_ready, service_parser
from lookonce.errors import LookonceError


def add_parser(actions: Any) -> None:
    """Add `batch`."""
    batch = service_parser(actions, "batch", "an endpoint in Azure for folders: lookonce score FOLDER")
    batch.add_argument("--compute", required=True, metavar="NAME", help="cluster for its jobs")
    batch.add_argument("--instances", type=int, default=1, metavar="N", help="nodes of a job (default: 1)")
    batch.add_argument(
        "--mini-batch", type=int, default=16, metavar="N", help="images that a node takes at a time"
    )
    batch.add_argument("--conf", type=float, default=0.3, help="lowest score (default: %(default)s)")
    batch.add_argument("--iou", type=float, default=0.45, help="overlap for NMS (default: %(default)s)")
    batch.add_argument(
        "--smoke-test", action="store_true", help="run a job with the image first: takes minutes"
    )
    batch.add_argument("--keep-old", action="store_true", help="keep the old deployment, unused")
    batch.set_defaults(run=_batch)


def _batch(arguments: argparse.Namespace) -> int:
    from lookonce.deploy.local import check_name

    service = arguments.service_name
    check_name(service)
    for name in ("conf", "iou"):
        if not 0 <= getattr(arguments, name) <= 1:
            raise LookonceError(f"--{name} is {getattr(arguments, name)}; expected a number from 0 to 1.")
    for name in ("instances", "mini_batch"):
        if getattr(arguments, name) < 1:
            flag = name.replace("_", "-")
            raise LookonceError(f"--{flag} is {getattr(arguments, name)}; expected 1 or more.")
    client = open_client(arguments.config)
    from lookonce.azure.deployment.batch import BatchSpec, BatchTarget, inspect_endpoint
    from lookonce.azure.deployment.batch_jobs import score
    from lookonce.azure.deployment.prepare import BATCH_SCRIPT, prepare
    from lookonce.azure.deployment.rollout import roll_out
    from lookonce.azure.environments import ServingMode

    variables = {"LOOKONCE_CONF": str(arguments.conf), "LOOKONCE_IOU": str(arguments.iou)}
    spec = BatchSpec(
        service,
        arguments.compute,
        arguments.description,
        arguments.instances,
        arguments.mini_batch,
        variables,
        arguments.keep_old,
    )
    with deploying(service) as (stages, folder):
        state = inspect_endpoint(client, service, arguments.compute)
        mode = ServingMode(BATCH_SCRIPT, variables=variables)
        prepared = prepare(client, arguments.model, service, mode, arguments.image, folder, stages)

        def smoke_test(deployment: str) -> str:
            name = Path(prepared.image).name
            row = score(client, service, deployment, {name: prepared.image}, stages).get(name)
            if row is None or "error" in row:
                reason = row["error"] if row else f"no row for {name}"
                raise LookonceError(f"{deployment} does not work: {reason}")
            return f"{deployment} works: {len(row['boxes'])} objects in {name}"

        target = BatchTarget(client, spec, prepared, smoke_test if arguments.smoke_test else None)
        address = roll_out(target, state, stages)
    return print_ready(service, address, "photos/", None)
