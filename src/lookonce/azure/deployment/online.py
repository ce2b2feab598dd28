"""Online endpoints through the SDK: endpoint, deployments, traffic, key, smoke test, logs."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobClient

from lookonce.azure import retry
from lookonce.azure.datastore import find_datastore
from lookonce.azure.environments import ServingMode
from lookonce.azure.errors import without_secrets
from lookonce.azure.retry import call
from lookonce.errors import LookonceError
from lookonce.serving.client.address import ScoringAddress
from lookonce.serving.client.client import ScoringClient
from lookonce.serving.client.failures import NoAnswerError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_TIMEOUT_MS, _SMOKE_SECONDS = 60_000, 180.0
_UNKNOWN_SECONDS, _AGAIN_SECONDS = 20.0, 2.0
# An image at a time is what the entry script works on; our own service gathers batches.
_AT_ONCE_SCRIPT, _AT_ONCE_SERVICE = 4, 32


@dataclass(frozen=True)
class OnlineSpec:
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
    way: ServingMode
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
        found = call(client, lambda: client.compute.get(name))
    except ResourceNotFoundError:
        known = sorted(
            one.name for one in call(client, lambda: list(client.compute.list())) if str(one.type) == kind
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
        return call(client, lambda: client.online_endpoints.get(service))
    except ResourceNotFoundError:
        return None


def create_endpoint(client: MLClient, wanted: OnlineSpec) -> None:
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
    retry.wait_for(
        client,
        lambda: client.online_endpoints.begin_create_or_update(endpoint),
        lambda: client.online_endpoints.get(wanted.service).provisioning_state,
    )


def create_deployment(client: MLClient, wanted: OnlineSpec, name: str) -> None:
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
    retry.wait_for(
        client,
        lambda: client.online_deployments.begin_create_or_update(deployment),
        lambda: client.online_deployments.get(name, wanted.service).provisioning_state,
    )


def key(client: MLClient, service: str) -> str | None:
    """What opens an endpoint: a key, or a token where somebody made it so. Raises LookonceError."""
    keys = call(client, lambda: client.online_endpoints.get_keys(service))
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
        except NoAnswerError:
            if time.monotonic() > until:
                raise
            time.sleep(_AGAIN_SECONDS)


def set_traffic(client: MLClient, service: str, shares: Mapping[str, int], description: str = "") -> None:
    """Share the traffic among deployments, in percent; and describe the endpoint. Raises LookonceError."""
    endpoint = call(client, lambda: client.online_endpoints.get(service))
    endpoint.description = description or endpoint.description
    endpoint.traffic = dict(shares)
    retry.wait_for(
        client,
        lambda: client.online_endpoints.begin_create_or_update(endpoint),
        lambda: client.online_endpoints.get(service).provisioning_state,
    )


def delete_deployment(client: MLClient, service: str, name: str) -> None:
    """Raises LookonceError."""
    retry.wait_for_deletion(
        client,
        lambda: client.online_deployments.begin_delete(name=name, endpoint_name=service),
        lambda: client.online_deployments.get(name, service).provisioning_state,
    )


def delete_endpoint(client: MLClient, service: str) -> None:
    """With all its deployments. Raises LookonceError."""
    retry.wait_for_deletion(
        client,
        lambda: client.online_endpoints.begin_delete(name=service),
        lambda: client.online_endpoints.get(service).provisioning_state,
    )


# Where a message about a failed build says that its log is.
_BUILD_LOG = re.compile(r"azureml/ImageLogs/[\w./-]+\w")
_MOST_BYTES = 2**20


def last_lines(client: MLClient, service: str, name: str, count: int) -> list[str]:
    """Of a deployment's container, or of what fetched model and code for it; [] where there is no log."""
    for container in ("inference-server", "storage-initializer"):
        try:
            read = partial(client.online_deployments.get_logs, name, service, count, container_type=container)
            said = call(client, read)
        except (LookonceError, ResourceNotFoundError):
            continue
        lines = [line for line in _lines(str(said)) if not line.startswith("Instance status:")]
        if lines:
            return lines[-count:]
    return []


def build_log(error: BaseException | None) -> str | None:
    """Container and path, in the workspace's own storage, of the log that an image's failed build left."""
    while error is not None:
        if found := _BUILD_LOG.search(str(error)):
            return found[0]
        error = error.__cause__
    return None


def stored_lines(client: MLClient, path: str, count: int) -> list[str]:
    """The last lines of a file in the workspace's own storage; [] where it can't be had."""
    try:
        account = find_datastore(client).container
        container, _, name = path.partition("/")
        address = f"{account.scheme}://{account.primary_hostname}"
        blob = BlobClient(address, container, name, credential=account.credential)
        size = call(client, lambda: blob.get_blob_properties().size)
        start = max(0, size - _MOST_BYTES)
        content = call(client, lambda: blob.download_blob(offset=start).readall()) if size else b""
    except (LookonceError, ResourceNotFoundError):
        return []
    return _lines(content.decode("utf-8", "replace"))[-count:]


def _lines(said: str) -> list[str]:
    return [without_secrets(line.rstrip()) for line in said.splitlines() if line.strip()]
