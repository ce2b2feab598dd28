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
# Whose groups are ours: others are in the resource group, too.
_TAG, _MODEL, _ABOUT = "lookonce", "lookonce-model", "lookonce-description"


@dataclass(frozen=True)
class ContainerSpec:
    """One container. `pull` is the user and the password of the image's registry."""

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
    """Raises LookonceError for what Azure would refuse."""
    if not _NAME.match(service) or len(service) > LONGEST_NAME:
        raise LookonceError(
            f"{service[:60]!r} is no name for a container instance; expected 3 to {LONGEST_NAME} small "
            "letters, digits and hyphens, a letter first and no hyphen last."
        )
    if not 0.1 <= cpu <= 32 or not 0.5 <= memory_gb <= 256:
        raise LookonceError(f"--cpu {cpu:g} --memory {memory_gb:g}: expected 0.1 to 32, and 0.5 to 256 GB.")
    if dns_label is not None and not _LABEL.match(dns_label):
        raise LookonceError(
            f"--dns-label {dns_label[:60]!r}; expected 5 to 63 small letters, digits and hyphens, no hyphen "
            "at an end."
        )


def find_group(client: MLClient, service: str) -> Any:
    """The group that `lookonce deploy aci` made under that name, or None. Raises LookonceError."""
    try:
        group: Any = call(
            client, lambda: _instances(client).container_groups.get(client.resource_group_name, service)
        )
    except ResourceNotFoundError:
        return None
    return group if _TAG in (group.tags or {}) else None


def groups(client: MLClient) -> list[Any]:
    """All that `lookonce deploy aci` made for this workspace. Raises LookonceError."""
    of_group = client.resource_group_name
    listed = call(client, lambda: list(_instances(client).container_groups.list_by_resource_group(of_group)))
    return [one for one in listed if (one.tags or {}).get(_TAG) == client.workspace_name]


def make(client: MLClient, wanted: ContainerSpec) -> Any:
    """Start it, and wait until Azure says that it runs. Raises LookonceError."""
    instances, group = _instances(client), client.resource_group_name
    body = _body(client, wanted)
    retry.wait_for(
        client,
        lambda: instances.container_groups.begin_create_or_update(
            group, wanted.service, body, polling_interval=retry.POLL_SECONDS
        ),
        lambda: instances.container_groups.get(group, wanted.service).provisioning_state,
    )
    return call(client, lambda: instances.container_groups.get(group, wanted.service))


def delete(client: MLClient, service: str) -> None:
    """Raises LookonceError; there may be none."""
    instances, group = _instances(client), client.resource_group_name
    retry.wait_for_deletion(
        client,
        lambda: instances.container_groups.begin_delete(group, service, polling_interval=retry.POLL_SECONDS),
        lambda: instances.container_groups.get(group, service).provisioning_state,
    )


def last_lines(client: MLClient, service: str, count: int) -> list[str]:
    """Of the container's log; [] where it can't be had."""
    group = client.resource_group_name
    try:
        said: Any = call(
            client,
            lambda: _instances(client).containers.list_logs(group, service, _CONTAINER, tail=count),
        )
    except (LookonceError, ResourceNotFoundError):
        return []
    return last_lines_of_text(said.content or "", count)


def address(group: Any) -> str:
    """Of its /score; empty as long as it has none."""
    found = group.ip_address
    host = (found.fqdn or found.ip) if found else None
    return f"http://{host}:{found.ports[0].port}/score" if host else ""


def state(group: Any) -> str:
    """The container's own, which tells more than the group's."""
    view = group.containers[0].instance_view if group.containers else None
    current = view.current_state if view else None
    if current is None:
        return str(group.provisioning_state)
    detail = f" ({current.detail_status})" if current.detail_status else ""
    return f"{current.state}{detail}"


def labels(group: Any) -> Mapping[str, str]:
    """`model` and `description`, as they were given."""
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


def _body(client: MLClient, wanted: ContainerSpec) -> Any:
    from azure.mgmt.containerinstance import models

    server = wanted.image.partition("/")[0]
    user, password = wanted.pull

    def probe(path: str, **more: Any) -> Any:
        return models.ContainerProbe(
            http_get=models.ContainerHttpGet(path=path, port=_PORT, scheme="http"), **more
        )

    container = models.Container(
        name=_CONTAINER,
        image=wanted.image,
        resources=models.ResourceRequirements(
            requests=models.ResourceRequests(cpu=wanted.cpu, memory_in_gb=wanted.memory_gb)
        ),
        ports=[models.ContainerPort(port=_PORT, protocol="TCP")],
        environment_variables=[models.EnvironmentVariable(name="WEBSERVICE_KEY", secure_value=wanted.key)],
        readiness_probe=probe("/ready", period_seconds=5, failure_threshold=3),
        liveness_probe=probe("/health", initial_delay_seconds=60, period_seconds=30, failure_threshold=5),
    )
    tags = {_TAG: str(client.workspace_name), _MODEL: wanted.model}
    return models.ContainerGroup(
        location=wanted.location,
        os_type="Linux",
        restart_policy="Always",
        containers=[container],
        image_registry_credentials=[
            models.ImageRegistryCredential(server=server, username=user, password=password)
        ],
        ip_address=models.IpAddress(
            type="Public",
            ports=[models.Port(port=_PORT, protocol="TCP")],
            dns_name_label=wanted.dns_label,
        ),
        tags={**tags, **({_ABOUT: wanted.description[:256]} if wanted.description else {})},
    )


# A connection's name has 33 letters at most.
_KEY_PREFIX = "aci-"
LONGEST_NAME = 33 - len(_KEY_PREFIX)


def keep_key(client: MLClient, service: str, address: str, key: str) -> None:
    """Raises LookonceError."""

    def request() -> Any:
        from azure.ai.ml.entities import APIKeyConnection

        connection = APIKeyConnection(name=_KEY_PREFIX + service, api_base=address, api_key=key)
        return client.connections.create_or_update(connection)

    call(client, request)


def find_key(client: MLClient, service: str) -> str | None:
    """None where none is kept. Raises LookonceError."""
    try:
        found: Any = call(
            client, lambda: client.connections.get(_KEY_PREFIX + service, populate_secrets=True)
        )
    except ResourceNotFoundError:
        return None
    return str(found.credentials.key) if found.credentials.key else None


def forget_key(client: MLClient, service: str) -> None:
    """Raises LookonceError; there may be none."""
    try:
        call(client, lambda: client.connections.delete(_KEY_PREFIX + service))
    except ResourceNotFoundError:
        return
    except LookonceError as error:
        raise LookonceError(
            f"the key that the workspace keeps as {_KEY_PREFIX}{service} stays: {error}"
        ) from error
