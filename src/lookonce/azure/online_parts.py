"""What an online endpoint consists of, asked for through the SDK: endpoint, deployments, traffic, key."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure import operations
from lookonce.azure.ask import ask
from lookonce.azure.serving_environment import Way
from lookonce.errors import LookonceError
from lookonce.serving.client.address import ScoringAddress
from lookonce.serving.client.client import ScoringClient
from lookonce.serving.client.failures import ImageFailedError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_TIMEOUT_MS, _SMOKE_SECONDS = 60_000, 180.0
_UNKNOWN_SECONDS, _AGAIN_SECONDS = 20.0, 2.0
# An image at a time is what the entry script works on; our own service gathers batches.
_AT_ONCE_SCRIPT, _AT_ONCE_SERVICE = 4, 32


@dataclass(frozen=True)
class Wanted:
    """What is to be there in the end.

    Args:
        model: `name:version` in the registry.
        compute: name of an attached Kubernetes cluster; None for a managed endpoint.
        instance_type: a machine's size, or Kubernetes' own name for one; None for its default.
        traffic: percent for the new deployment, the rest for the old one.
        keep_old: leave the old deployment there without traffic.
    """

    service: str
    model: str
    environment: str
    way: Way
    code: Path | None
    description: str = ""
    compute: str | None = None
    instance_type: str | None = None
    instances: int = 1
    traffic: int = 100
    keep_old: bool = False


def check_compute(client: MLClient, name: str, kind: str) -> None:
    """Raises LookonceError when the workspace has no compute of that name and kind."""
    try:
        found = ask(client, lambda: client.compute.get(name))
    except ResourceNotFoundError:
        known = sorted(
            one.name for one in ask(client, lambda: list(client.compute.list())) if str(one.type) == kind
        )
        raise LookonceError(
            f"no compute {name[:60]!r} in workspace {client.workspace_name}; of the kind {kind} there is "
            f"{', '.join(known) or 'none'}. az ml compute attach, or create, adds one."
        ) from None
    if str(found.type) != kind:
        raise LookonceError(f"compute {name} is of the kind {found.type}; needed is one of the kind {kind}.")


def find_endpoint(client: MLClient, service: str) -> Any:
    """The online endpoint of that name, or None. Raises LookonceError."""
    try:
        return ask(client, lambda: client.online_endpoints.get(service))
    except ResourceNotFoundError:
        return None


def make_endpoint(client: MLClient, wanted: Wanted) -> None:
    """One that asks for a key. Raises LookonceError."""
    from azure.ai.ml.entities import KubernetesOnlineEndpoint, ManagedOnlineEndpoint

    about: dict[str, Any] = {
        "name": wanted.service,
        "description": wanted.description or None,
        "auth_mode": "key",
        "tags": {"lookonce": "deploy"},
    }
    endpoint = (
        KubernetesOnlineEndpoint(compute=wanted.compute, **about)
        if wanted.compute
        else ManagedOnlineEndpoint(**about)
    )
    operations.finish(
        client,
        lambda: client.online_endpoints.begin_create_or_update(endpoint),
        lambda: client.online_endpoints.get(wanted.service).provisioning_state,
    )


def make_deployment(client: MLClient, wanted: Wanted, name: str) -> None:
    """Without traffic. Raises LookonceError."""
    from azure.ai.ml.entities import (
        CodeConfiguration,
        KubernetesOnlineDeployment,
        ManagedOnlineDeployment,
        OnlineRequestSettings,
    )

    at_once = _AT_ONCE_SCRIPT if wanted.way.script else _AT_ONCE_SERVICE
    about: dict[str, Any] = {
        "name": name,
        "endpoint_name": wanted.service,
        "description": wanted.description or None,
        "model": f"azureml:{wanted.model}",
        "environment": f"azureml:{wanted.environment}",
        "environment_variables": dict(wanted.way.variables),
        "request_settings": OnlineRequestSettings(
            request_timeout_ms=_TIMEOUT_MS, max_concurrent_requests_per_instance=at_once
        ),
        "instance_count": wanted.instances,
        "tags": {"lookonce": "deploy", "model": wanted.model},
    }
    if wanted.way.script:
        about["code_configuration"] = CodeConfiguration(
            code=str(wanted.code), scoring_script=wanted.way.script
        )
    if wanted.instance_type:
        about["instance_type"] = wanted.instance_type
    deployment = KubernetesOnlineDeployment(**about) if wanted.compute else ManagedOnlineDeployment(**about)
    operations.finish(
        client,
        lambda: client.online_deployments.begin_create_or_update(deployment),
        lambda: client.online_deployments.get(name, wanted.service).provisioning_state,
    )


def key(client: MLClient, service: str) -> str | None:
    """What opens an endpoint: a key, or a token where somebody made it so. Raises LookonceError."""
    keys = ask(client, lambda: client.online_endpoints.get_keys(service))
    return str(getattr(keys, "primary_key", None) or getattr(keys, "access_token", None) or "") or None


def smoke_test(client: MLClient, service: str, uri: str, name: str, image: Path) -> dict[str, Any]:
    """One image to one deployment, past the traffic's rules. Raises LookonceError.

    What has just started isn't known everywhere at once: no answer is asked for again.
    """
    asking = ScoringClient(
        ScoringAddress.parse(uri),
        key(client, service),
        "the endpoint",
        deployment=name,
        timeout_seconds=_SMOKE_SECONDS,
        retries=6,
    )
    until = time.monotonic() + _UNKNOWN_SECONDS
    while True:
        try:
            return asking.score(image)
        except ImageFailedError:
            if time.monotonic() > until:
                raise
            time.sleep(_AGAIN_SECONDS)


def set_traffic(client: MLClient, service: str, shares: Mapping[str, int], description: str = "") -> None:
    """Share the traffic among deployments, in percent; and describe the endpoint. Raises LookonceError."""
    endpoint = ask(client, lambda: client.online_endpoints.get(service))
    endpoint.description = description or endpoint.description
    endpoint.traffic = dict(shares)
    operations.finish(
        client,
        lambda: client.online_endpoints.begin_create_or_update(endpoint),
        lambda: client.online_endpoints.get(service).provisioning_state,
    )


def delete_deployment(client: MLClient, service: str, name: str) -> None:
    """Raises LookonceError."""
    operations.delete(
        client,
        lambda: client.online_deployments.begin_delete(name=name, endpoint_name=service),
        lambda: client.online_deployments.get(name, service).provisioning_state,
    )


def delete_endpoint(client: MLClient, service: str) -> None:
    """With all its deployments. Raises LookonceError."""
    operations.delete(
        client,
        lambda: client.online_endpoints.begin_delete(name=service),
        lambda: client.online_endpoints.get(service).provisioning_state,
    )
