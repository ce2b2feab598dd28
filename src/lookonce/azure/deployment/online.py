"""Online endpoints, managed by Azure or on an attached Kubernetes cluster: inspect, roll out, log, delete."""

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
from lookonce.azure.blobs import last_lines_of_blob, last_lines_of_text
from lookonce.azure.compute import check_compute
from lookonce.azure.datastore import find_datastore
from lookonce.azure.deployment.rollout import EndpointState
from lookonce.azure.deployment.stages import Stages
from lookonce.azure.environments import ServingMode
from lookonce.azure.retry import call
from lookonce.errors import LookonceError
from lookonce.serving.client.address import ScoringAddress
from lookonce.serving.client.client import ScoringClient
from lookonce.serving.client.failures import ImageFailedError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_TIMEOUT_MS, _SMOKE_TEST_SECONDS = 60_000, 180.0
_UNREACHABLE_SECONDS, _RETRY_SECONDS = 20.0, 2.0
# The entry script works on one image at a time; `lookonce serve` gathers batches.
_SCRIPT_CONCURRENCY, _SERVICE_CONCURRENCY = 4, 32
_LOG_LINES = 25
# Where the error of a failed image build says that its log is.
_BUILD_LOG = re.compile(r"azureml/ImageLogs/[\w./-]+\w")


@dataclass(frozen=True)
class OnlineSpec:
    """The deployment to create.

    Args:
        model: `name:version` in the registry.
        compute: name of an attached Kubernetes cluster; None for a managed endpoint.
        instance_type: machine size, or the name of a Kubernetes instance type; None for its default.
        traffic: percent of the traffic for the new deployment; the rest stays with the old one.
        keep_old: keep the old deployment, without traffic.
    """

    service: str
    model: str
    environment: str
    mode: ServingMode
    code: Path | None
    description: str = ""
    compute: str | None = None
    instance_type: str | None = None
    instances: int = 1
    traffic: int = 100
    keep_old: bool = False


def inspect_endpoint(client: MLClient, service: str, compute: str | None) -> EndpointState:
    """Return the state of the endpoint that a deployment is rolled out to.

    `compute` is the Kubernetes cluster for the deployment, or None. Raises LookonceError where the endpoint
    is of the other kind, or its traffic is shared among deployments.
    """
    if compute is not None:
        check_compute(client, compute, "kubernetes")
    endpoint = find_endpoint(client, service)
    if endpoint is None:
        return EndpointState.missing()
    is_kubernetes = getattr(endpoint, "compute", None) is not None
    if is_kubernetes != (compute is not None):
        kind = "Kubernetes" if is_kubernetes else "managed"
        raise LookonceError(
            f"{service} exists as a {kind} endpoint. Choose another service name, or delete it: lookonce "
            f"deploy delete {service} --on azure"
        )
    shares = {name: share for name, share in (endpoint.traffic or {}).items() if share}
    if len(shares) > 1:
        raise LookonceError(
            f"the traffic of {service} is shared: {describe_shares(shares)}. Choose one deployment first: "
            f"lookonce deploy traffic {service} {max(shares, key=lambda name: shares[name])}=100"
        )
    names = {str(one.name) for one in call(client, lambda: list(client.online_deployments.list(service)))}
    return EndpointState.existing(endpoint, next(iter(shares), None), names)


class OnlineTarget:
    """An online endpoint as the target of a rollout; `image` is sent to the new deployment."""

    label = "endpoint"

    def __init__(self, client: MLClient, spec: OnlineSpec, image: Path) -> None:
        self._client, self._spec, self._image = client, spec, image
        self.service, self.model, self.keep_old = (
            spec.service,
            spec.model,
            spec.keep_old or spec.traffic < 100,
        )

    def exists(self) -> bool:
        """Return whether the endpoint exists."""
        return find_endpoint(self._client, self.service) is not None

    def create_endpoint(self) -> None:
        """Create an endpoint that requires a key."""
        from azure.ai.ml.entities import KubernetesOnlineEndpoint, ManagedOnlineEndpoint

        spec = self._spec
        options: dict[str, Any] = {
            "name": spec.service,
            "description": spec.description or None,
            "auth_mode": "key",
            "tags": {"lookonce": "deploy"},
        }
        if spec.compute:
            _put_endpoint(self._client, KubernetesOnlineEndpoint(compute=spec.compute, **options))
        else:
            _put_endpoint(self._client, ManagedOnlineEndpoint(**options))

    def create_deployment(self, name: str) -> None:
        """Create a deployment without traffic."""
        from azure.ai.ml.entities import (
            CodeConfiguration,
            KubernetesOnlineDeployment,
            ManagedOnlineDeployment,
            OnlineRequestSettings,
        )

        spec, client = self._spec, self._client
        concurrency = _SCRIPT_CONCURRENCY if spec.mode.script else _SERVICE_CONCURRENCY
        options: dict[str, Any] = {
            "name": name,
            "endpoint_name": spec.service,
            "description": spec.description or None,
            "model": f"azureml:{spec.model}",
            "environment": f"azureml:{spec.environment}",
            "environment_variables": dict(spec.mode.variables),
            "request_settings": OnlineRequestSettings(
                request_timeout_ms=_TIMEOUT_MS, max_concurrent_requests_per_instance=concurrency
            ),
            "instance_count": spec.instances,
            "tags": {"lookonce": "deploy", "model": spec.model},
        }
        if spec.mode.script:
            options["code_configuration"] = CodeConfiguration(
                code=str(spec.code), scoring_script=spec.mode.script
            )
        if spec.instance_type:
            options["instance_type"] = spec.instance_type
        kind = KubernetesOnlineDeployment if spec.compute else ManagedOnlineDeployment
        deployment = kind(**options)
        retry.wait_for(
            client,
            lambda: client.online_deployments.begin_create_or_update(deployment),
            lambda: client.online_deployments.get(name, spec.service).provisioning_state,
        )

    def smoke_test(self, name: str, stages: Stages) -> None:
        """Send the image to the deployment, bypassing the traffic rules."""
        with stages.stage(f"sending {self._image.name} to {name}") as stage:
            response = smoke_test(self._client, self.service, self.scoring_uri(), name, self._image)
            stage.result = f"{name} works: {len(response['boxes'])} objects in {self._image.name}"

    def switch(self, name: str, current: str | None) -> str:
        """Give the deployment its share of the traffic, and `current` the rest."""
        traffic = self._spec.traffic
        shares = {name: 100} if current is None else {name: traffic, current: 100 - traffic}
        set_traffic(self._client, self.service, shares, self._spec.description)
        return f"traffic goes to {describe_shares(shares)}"

    def scoring_uri(self) -> str:
        """Return the endpoint's address."""
        endpoint: Any = call(self._client, lambda: self._client.online_endpoints.get(self.service))
        return str(endpoint.scoring_uri)

    def log_tail(self, name: str, error: Exception) -> str:
        """Return the end of the image build's log if the build failed, else of the container's."""
        if path := _build_log_path(error):
            source, lines = "the image build", _stored_lines(self._client, path, _LOG_LINES)
        else:
            source, lines = name, last_lines(self._client, self.service, name, _LOG_LINES)
        return f"\nLast lines of the log of {source}:\n  " + "\n  ".join(lines) if lines else ""

    def delete_deployment(self, name: str) -> None:
        """Delete a deployment, if it exists."""
        delete_deployment(self._client, self.service, name)

    def delete_endpoint(self) -> None:
        """Delete the endpoint and its deployments, if it exists."""
        delete_endpoint(self._client, self.service)


def find_endpoint(client: MLClient, service: str) -> Any:
    """Return the online endpoint of this name, or None. Raises LookonceError."""
    try:
        return call(client, lambda: client.online_endpoints.get(service))
    except ResourceNotFoundError:
        return None


def endpoint_key(client: MLClient, service: str) -> str | None:
    """Return the endpoint's key, or its token where it has no keys. Raises LookonceError."""
    keys = call(client, lambda: client.online_endpoints.get_keys(service))
    return str(getattr(keys, "primary_key", None) or getattr(keys, "access_token", None) or "") or None


def smoke_test(client: MLClient, service: str, uri: str, name: str, image: Path) -> dict[str, Any]:
    """Send one image to one deployment; return the response. Raises LookonceError.

    A deployment that has just started is not reachable everywhere at once: retry while there is no response.
    """
    scoring = ScoringClient(
        ScoringAddress.parse(uri),
        endpoint_key(client, service),
        "the endpoint",
        deployment=name,
        timeout_seconds=_SMOKE_TEST_SECONDS,
        retries=6,
    )
    deadline = time.monotonic() + _UNREACHABLE_SECONDS
    while True:
        try:
            return scoring.score(image)
        except ImageFailedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)


def set_traffic(client: MLClient, service: str, shares: Mapping[str, int], description: str = "") -> None:
    """Set each deployment's percent of the traffic, and the description. Raises LookonceError."""
    endpoint = call(client, lambda: client.online_endpoints.get(service))
    endpoint.description = description or endpoint.description
    endpoint.traffic = dict(shares)
    _put_endpoint(client, endpoint)


def describe_shares(shares: Mapping[str, int]) -> str:
    """Return the traffic's shares as text: "blue", or "blue 90 %, green 10 %"."""
    used = {name: share for name, share in shares.items() if share}
    if len(used) == 1:
        return next(iter(used))
    return ", ".join(f"{name} {share} %" for name, share in sorted(used.items()))


def delete_deployment(client: MLClient, service: str, name: str) -> None:
    """Delete a deployment, if it exists. Raises LookonceError."""
    retry.wait_for_deletion(
        client,
        lambda: client.online_deployments.begin_delete(name=name, endpoint_name=service),
        lambda: client.online_deployments.get(name, service).provisioning_state,
    )


def delete_endpoint(client: MLClient, service: str) -> None:
    """Delete an endpoint and its deployments, if it exists. Raises LookonceError."""
    retry.wait_for_deletion(
        client,
        lambda: client.online_endpoints.begin_delete(name=service),
        lambda: client.online_endpoints.get(service).provisioning_state,
    )


def last_lines(client: MLClient, service: str, name: str, count: int) -> list[str]:
    """Return the end of a deployment's log, else of the log of its model and code download."""
    for container in ("inference-server", "storage-initializer"):
        try:
            read = partial(client.online_deployments.get_logs, name, service, count, container_type=container)
            text = str(call(client, read))
        except (LookonceError, ResourceNotFoundError):
            continue
        # The service's own first line is no part of the log.
        without_status = re.sub(r"^Instance status:.*$", "", text, flags=re.MULTILINE)
        if lines := last_lines_of_text(without_status, count):
            return lines
    return []


def _put_endpoint(client: MLClient, endpoint: Any) -> None:
    retry.wait_for(
        client,
        lambda: client.online_endpoints.begin_create_or_update(endpoint),
        lambda: client.online_endpoints.get(endpoint.name).provisioning_state,
    )


def _build_log_path(error: BaseException | None) -> str | None:
    """Return container and path of a failed image build's log in the workspace's storage."""
    while error is not None:
        if found := _BUILD_LOG.search(str(error)):
            return found[0]
        error = error.__cause__
    return None


def _stored_lines(client: MLClient, path: str, count: int) -> list[str]:
    """Return the last lines of a file in the workspace's storage; none where it cannot be read."""
    try:
        account = find_datastore(client).container
        container, _, name = path.partition("/")
        address = f"{account.scheme}://{account.primary_hostname}"
        blob = BlobClient(address, container, name, credential=account.credential)
        return call(client, lambda: last_lines_of_blob(blob, count))
    except (LookonceError, ResourceNotFoundError):
        return []
