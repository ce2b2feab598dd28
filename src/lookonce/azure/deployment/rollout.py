"""Online endpoints, managed by Azure or on Kubernetes: a new deployment beside the old one, tried, then used.

The old one has all the traffic until the new one has answered an image. Whatever fails before that is taken
away again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.azure import retry
from lookonce.azure.deployment.online import (
    OnlineSpec,
    build_log,
    check_compute,
    create_deployment,
    create_endpoint,
    delete_deployment,
    delete_endpoint,
    find_endpoint,
    last_lines,
    set_traffic,
    smoke_test,
    stored_lines,
)
from lookonce.azure.deployment.stages import Stages
from lookonce.azure.retry import call
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

COLOURS = ("blue", "green")
_LOG_LINES = 25


@dataclass(frozen=True)
class EndpointState:
    """The endpoint as it was found: None for no endpoint."""

    endpoint: Any
    current: str | None
    idle: str | None
    new: str


def inspect_endpoint(client: MLClient, service: str, compute: str | None) -> EndpointState:
    """What is there under that name, and which deployment a new one is to be. Raises LookonceError.

    `compute` is the Kubernetes cluster that it is to run on, if any.
    """
    if compute is not None:
        check_compute(client, compute, "kubernetes")
    endpoint = find_endpoint(client, service)
    if endpoint is None:
        return EndpointState(None, None, None, COLOURS[0])
    is_kubernetes = getattr(endpoint, "compute", None) is not None
    if is_kubernetes != (compute is not None):
        kind = "Kubernetes" if is_kubernetes else "managed"
        raise LookonceError(
            f"{service} is there already as a {kind} endpoint. Choose another --service-name, or delete it: "
            f"lookonce deploy delete {service} --on azure"
        )
    shares = {name: share for name, share in (endpoint.traffic or {}).items() if share}
    if len(shares) > 1:
        told = " and ".join(f"{name} {share} %" for name, share in sorted(shares.items()))
        raise LookonceError(
            f"the traffic of {service} is shared: {told}. Decide first: lookonce deploy traffic {service} "
            f"{max(shares, key=lambda name: shares[name])}=100"
        )
    current = next(iter(shares), None)
    new = COLOURS[1] if current == COLOURS[0] else COLOURS[0]
    names = {one.name for one in call(client, lambda: list(client.online_deployments.list(service)))}
    return EndpointState(endpoint, current, new if new in names else None, new)


def deploy(client: MLClient, wanted: OnlineSpec, before: EndpointState, image: Path, stages: Stages) -> str:
    """Do it; the service's address. Raises LookonceError with the traffic as it was and nothing left behind.

    What can't be taken away again is named in the message.
    """
    told = f"endpoint {wanted.service}"
    place = f"deployment {before.new} of {wanted.service}"
    stages.left = told if before.endpoint is None else place
    try:
        if before.endpoint is None:
            with stages.stage(f"making {told}", f"with making {told}") as stage:
                create_endpoint(client, wanted)
                stage.result = f"{told} is made, and asks for a key"
        if before.idle:
            with stages.stage(f"removing the idle {place}") as stage:
                delete_deployment(client, wanted.service, before.idle)
                stage.result = f"{place} was idle and is deleted"
        with stages.stage(f"starting {place}; this takes minutes", f"with starting {place}") as stage:
            create_deployment(client, wanted, before.new)
            stage.result = f"{place} has started"
        endpoint = call(client, lambda: client.online_endpoints.get(wanted.service))
        with stages.stage(f"asking {before.new} about an image") as stage:
            answer = smoke_test(client, wanted.service, endpoint.scoring_uri, before.new, image)
            stage.result = f"{before.new} answers: {len(answer['boxes'])} found in {image.name}"
        with stages.stage("moving the traffic", f"with moving the traffic to {before.new}") as stage:
            shares = _shares(wanted, before)
            set_traffic(client, wanted.service, shares, wanted.description)
            stage.result = f"the traffic goes to {describe_shares(shares)}"
    except Exception as error:
        raise LookonceError(_undone(client, wanted, before, error, stages)) from error
    stages.left = ""
    if before.current and wanted.traffic == 100 and not wanted.keep_old:
        _remove_old(client, wanted.service, before.current, stages)
    return str(endpoint.scoring_uri)


def describe_shares(shares: Mapping[str, int]) -> str:
    """For people."""
    used = {name: share for name, share in shares.items() if share}
    if len(used) == 1:
        return next(iter(used))
    return ", ".join(f"{name} {share} %" for name, share in sorted(used.items()))


def _shares(wanted: OnlineSpec, before: EndpointState) -> dict[str, int]:
    if before.current is None or wanted.traffic == 100:
        return {before.new: 100}
    return {before.new: wanted.traffic, before.current: 100 - wanted.traffic}


def _remove_old(client: MLClient, service: str, name: str, stages: Stages) -> None:
    """It has no traffic any more; that it stays is no failure of the service."""
    try:
        with stages.stage(f"deleting {name}", f"with deleting {name}") as stage:
            delete_deployment(client, service, name)
            stage.result = f"{name}, the old one, is deleted"
    except LookonceError as error:
        stages.say(
            f"{name}, the old one, stays there without traffic, and costs: {error} Delete it: lookonce "
            f"deploy delete {service} --deployment {name} --on azure"
        )


def _log_of(client: MLClient, service: str, name: str, error: Exception) -> str:
    """The last lines of the log that tells why: the image's build's, or the container's."""
    whose = "the build's" if (log := build_log(error)) else f"{name}'s"
    lines = stored_lines(client, log, _LOG_LINES) if log else last_lines(client, service, name, _LOG_LINES)
    return f"\nThe last lines of {whose} log:\n  " + "\n  ".join(lines) if lines else ""


def _undone(
    client: MLClient, wanted: OnlineSpec, before: EndpointState, error: Exception, stages: Stages
) -> str:
    """Take away what was made; the message with what failed, the log, what stayed, and what to do."""
    service, made_endpoint = wanted.service, before.endpoint is None
    what = f"endpoint {service}" if made_endpoint else f"deployment {before.new} of {service}"
    text = f"{service} isn't deployed: {retry.failure_sentence(error)}"
    try:
        if made_endpoint and find_endpoint(client, service) is None:
            return f"{text}\nNothing was made but the registered model {wanted.model}, for the next attempt."
        text += _log_of(client, service, before.new, error)
        with stages.stage("taking away what was made", "with deleting what was made") as stage:
            if made_endpoint:
                delete_endpoint(client, service)
            else:
                delete_deployment(client, service, before.new)
            stage.result = f"{what} is deleted again"
    except LookonceError as trouble:
        rest = "" if made_endpoint else f" --deployment {before.new}"
        return (
            f"{text}\nWhat stays behind, and may cost: {what}, for it can't be deleted: {trouble} Try: "
            f"lookonce deploy delete {service}{rest} --on azure"
        )
    stays = f"{before.current} has all the traffic as before. " if before.current else ""
    return (
        f"{text}\n{stays}Nothing stays behind but the registered model {wanted.model}, for the next attempt."
    )
