"""Services in Azure Container Instances, and their keys in the workspace's key vault."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure import retry
from lookonce.azure.blobs import last_lines_of_text
from lookonce.azure.deployment.image_builds import management
from lookonce.azure.retry import call
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_NAME = re.compile(r"[a-z](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]\Z")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{3,61})[a-z0-9]\Z")
_CONTAINER, _PORT = "lookonce", 8080
# The tag of our container groups: the resource group may have others.
_TAG, _MODEL, _ABOUT = "lookonce", "lookonce-model", "lookonce-description"


@dataclass(frozen=True)
class ContainerSpec:
    """The container to create. `pull` is user and password of the image's registry."""

    service: str
    image: str
    model: str
    key: str
    pull: tuple[str, str]
    location: str
    description: str = ""
    cpu: float = 1.0
    memory_gb: float = 6.0
    dns_label: str | None = None


def check(service: str, cpu: float, memory_gb: float, dns_label: str | None) -> None:
    """Raise LookonceError for values that Azure would refuse."""
    if not _NAME.match(service) or len(service) > LONGEST_NAME:
        raise LookonceError(
            f"{service[:60]!r} is not a container instance name; expected 3 to {LONGEST_NAME} lowercase "
            "letters, digits and hyphens, with a letter first and no hyphen last."
        )
    if not 0.1 <= cpu <= 32 or not 0.5 <= memory_gb <= 256:
        raise LookonceError(
            f"{cpu:g} cores and {memory_gb:g} GB of memory; expected 0.1 to 32 cores, and 0.5 to 256 GB."
        )
    if dns_label is not None and not _LABEL.match(dns_label):
        raise LookonceError(
            f"{dns_label[:60]!r} is not a DNS label; expected 5 to 63 lowercase letters, digits and hyphens, "
            "with no hyphen at an end."
        )


def find_group(client: MLClient, service: str) -> Any:
    """Return the container group of this service, or None. Raises LookonceError."""
    try:
        group: Any = call(
            client, lambda: _instances(client).container_groups.get(client.resource_group_name, service)
        )
    except ResourceNotFoundError:
        return None
    return group if _TAG in (group.tags or {}) else None


def groups(client: MLClient) -> list[Any]:
    """Return the container groups of this workspace's services. Raises LookonceError."""
    of_group = client.resource_group_name
    listed = call(client, lambda: list(_instances(client).container_groups.list_by_resource_group(of_group)))
    return [one for one in listed if (one.tags or {}).get(_TAG) == client.workspace_name]


def create(client: MLClient, spec: ContainerSpec) -> Any:
    """Create a container group and wait until Azure reports it as running. Raises LookonceError."""
    instances, group = _instances(client), client.resource_group_name
    body = _body(client, spec)
    retry.wait_for(
        client,
        lambda: instances.container_groups.begin_create_or_update(
            group, spec.service, body, polling_interval=retry.POLL_SECONDS
        ),
        lambda: instances.container_groups.get(group, spec.service).provisioning_state,
    )
    return call(client, lambda: instances.container_groups.get(group, spec.service))


def delete(client: MLClient, service: str) -> None:
    """Delete the container group of a service, if it exists. Raises LookonceError."""
    instances, group = _instances(client), client.resource_group_name
    retry.wait_for_deletion(
        client,
        lambda: instances.container_groups.begin_delete(group, service, polling_interval=retry.POLL_SECONDS),
        lambda: instances.container_groups.get(group, service).provisioning_state,
    )


def last_lines(client: MLClient, service: str, count: int) -> list[str]:
    """Return the end of the container's log; no lines where it cannot be read."""
    group = client.resource_group_name
    try:
        log: Any = call(
            client,
            lambda: _instances(client).containers.list_logs(group, service, _CONTAINER, tail=count),
        )
    except (LookonceError, ResourceNotFoundError):
        return []
    return last_lines_of_text(log.content or "", count)


def address(group: Any) -> str:
    """Return the scoring URI; empty while the group has no address."""
    found = group.ip_address
    host = (found.fqdn or found.ip) if found else None
    return f"http://{host}:{found.ports[0].port}/score" if host else ""


def state(group: Any) -> str:
    """Return the container's state, which is more precise than the group's."""
    view = group.containers[0].instance_view if group.containers else None
    current = view.current_state if view else None
    if current is None:
        return str(group.provisioning_state)
    detail = f" ({current.detail_status})" if current.detail_status else ""
    return f"{current.state}{detail}"


def labels(group: Any) -> Mapping[str, str]:
    """Return `model` and `description` from the group's tags."""
    tags = group.tags or {}
    return {"model": tags.get(_MODEL, ""), "description": tags.get(_ABOUT, "")}


def _instances(client: MLClient) -> Any:
    try:
        from azure.mgmt.containerinstance import ContainerInstanceManagementClient
    except ImportError as error:
        raise LookonceError(
            "azure-mgmt-containerinstance is not installed. Install it with: pip install 'lookonce[azure]'"
        ) from error
    return ContainerInstanceManagementClient(**management(client))


def _body(client: MLClient, spec: ContainerSpec) -> Any:
    from azure.mgmt.containerinstance import models

    server = spec.image.partition("/")[0]
    user, password = spec.pull

    def probe(path: str, **more: Any) -> Any:
        return models.ContainerProbe(
            http_get=models.ContainerHttpGet(path=path, port=_PORT, scheme="http"), **more
        )

    container = models.Container(
        name=_CONTAINER,
        image=spec.image,
        resources=models.ResourceRequirements(
            requests=models.ResourceRequests(cpu=spec.cpu, memory_in_gb=spec.memory_gb)
        ),
        ports=[models.ContainerPort(port=_PORT, protocol="TCP")],
        environment_variables=[models.EnvironmentVariable(name="WEBSERVICE_KEY", secure_value=spec.key)],
        readiness_probe=probe("/ready", period_seconds=5, failure_threshold=3),
        liveness_probe=probe("/health", initial_delay_seconds=60, period_seconds=30, failure_threshold=5),
    )
    tags = {_TAG: str(client.workspace_name), _MODEL: spec.model}
    return models.ContainerGroup(
        location=spec.location,
        os_type="Linux",
        restart_policy="Always",
        containers=[container],
        image_registry_credentials=[
            models.ImageRegistryCredential(server=server, username=user, password=password)
        ],
        ip_address=models.IpAddress(
            type="Public",
            ports=[models.Port(port=_PORT, protocol="TCP")],
            dns_name_label=spec.dns_label,
        ),
        tags={**tags, **({_ABOUT: spec.description[:256]} if spec.description else {})},
    )


# A connection's name has at most 33 characters.
_KEY_PREFIX = "aci-"
LONGEST_NAME = 33 - len(_KEY_PREFIX)


def store_key(client: MLClient, service: str, address: str, key: str) -> None:
    """Store a service's key in the workspace's key vault, as a connection. Raises LookonceError."""

    def request() -> Any:
        from azure.ai.ml.entities import APIKeyConnection

        connection = APIKeyConnection(name=_KEY_PREFIX + service, api_base=address, api_key=key)
        return client.connections.create_or_update(connection)

    call(client, request)


def find_key(client: MLClient, service: str) -> str | None:
    """Return a service's stored key, or None. Raises LookonceError."""
    try:
        found: Any = call(
            client, lambda: client.connections.get(_KEY_PREFIX + service, populate_secrets=True)
        )
    except ResourceNotFoundError:
        return None
    return str(found.credentials.key) if found.credentials.key else None


def delete_key(client: MLClient, service: str) -> None:
    """Delete a service's stored key, if it exists. Raises LookonceError."""
    try:
        call(client, lambda: client.connections.delete(_KEY_PREFIX + service))
    except ResourceNotFoundError:
        return
    except LookonceError as error:
        raise LookonceError(
            f"the key in connection {_KEY_PREFIX}{service} could not be deleted: {error}"
        ) from error
