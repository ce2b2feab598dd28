"""The workspace's services of every kind: find, list, read logs, delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.deployment import batch, batch_jobs, containers, online
from lookonce.azure.retry import call, state_text
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

ONLINE, KUBERNETES, BATCH, ACI = "online", "kubernetes", "batch", "aci"


@dataclass(frozen=True)
class Service:
    """One service. `deployments` describes models and traffic, for people."""

    name: str
    kind: str
    state: str
    address: str
    deployments: str
    description: str = ""


def find_service(client: MLClient, service: str) -> Service:
    """Return the service of this name, of any kind. Raises LookonceError."""
    errors = []
    for find in (_find_online, _find_batch, _find_container):
        try:
            if (one := find(client, service)) is not None:
                return one
        except LookonceError as error:
            errors.append(str(error))
    if errors:
        raise LookonceError(" ".join(errors))
    raise service_missing(client, service)


def service_missing(client: MLClient, service: str) -> LookonceError:
    """Return an error for a name that no service has; it lists the services."""
    known = ", ".join(one.name for one in list_services(client)[0]) or "none"
    return LookonceError(
        f"no service {service[:60]!r} in workspace {client.workspace_name}; it has {known}. lookonce deploy "
        "list shows those of this machine."
    )


def list_services(client: MLClient) -> tuple[list[Service], list[str]]:
    """Return all services by name, and errors: a role may allow to list endpoints but not containers."""
    known: list[Service] = []
    errors = []
    for all_of in (_all_online, _all_batch, _all_containers):
        try:
            known += all_of(client)
        except LookonceError as error:
            errors.append(str(error))
    return sorted(known, key=lambda one: (one.name, one.kind)), errors


def key(client: MLClient, service: Service) -> str | None:
    """Return the service's key, or None where the workspace has none. Raises LookonceError."""
    if service.kind == ACI:
        return containers.find_key(client, service.name)
    # Batch endpoints use the caller's identity.
    return None if service.kind == BATCH else online.endpoint_key(client, service.name)


def logs(client: MLClient, service: Service, deployment: str | None, count: int) -> dict[str, list[str]]:
    """Return the last lines of each deployment's log, or of one. Raises LookonceError."""
    if service.kind == ACI:
        return {service.name: containers.last_lines(client, service.name, count)}
    names = _chosen(client, service, deployment)
    if service.kind == BATCH:
        return batch_jobs.last_lines(client, service.name, count)
    return {name: online.last_lines(client, service.name, name, count) for name in names}


def delete(client: MLClient, service: Service, deployment: str | None) -> str:
    """Delete a service, or one deployment of it; return what was deleted, as text. Raises LookonceError."""
    if service.kind == ACI:
        containers.delete(client, service.name)
        containers.delete_key(client, service.name)
        return f"container instance {service.name} and its key"
    names = _chosen(client, service, deployment)
    parts = batch if service.kind == BATCH else online
    if deployment is None:
        parts.delete_endpoint(client, service.name)
        with_them = f" and deployment{'s' * (len(names) > 1)} {', '.join(names)}" if names else ""
        return f"{service.kind} endpoint {service.name}{with_them}"
    parts.delete_deployment(client, service.name, deployment)
    return f"deployment {deployment} of {service.name}"


def _chosen(client: MLClient, service: Service, deployment: str | None) -> list[str]:
    """Return the names of all deployments, or `deployment` if it exists. Raises LookonceError."""
    if service.kind == BATCH:
        names = sorted(batch.deployments(client, service.name))
    else:
        parts = call(client, lambda: list(client.online_deployments.list(service.name)))
        names = sorted(str(one.name) for one in parts)
    if deployment is None:
        return names
    if deployment not in names:
        has = ", ".join(names) or "none"
        raise LookonceError(f"{service.name} has no deployment {deployment[:60]!r}; it has {has}.")
    return [deployment]


def _find_online(client: MLClient, service: str) -> Service | None:
    endpoint = online.find_endpoint(client, service)
    return _online(client, endpoint) if endpoint is not None else None


def _find_batch(client: MLClient, service: str) -> Service | None:
    endpoint = batch.find_endpoint(client, service)
    return _batch(client, endpoint) if endpoint is not None else None


def _find_container(client: MLClient, service: str) -> Service | None:
    group = containers.find_group(client, service)
    return _container(group) if group is not None else None


def _all_online(client: MLClient) -> list[Service]:
    endpoints = call(client, lambda: list(client.online_endpoints.list()))
    return [_online(client, one) for one in endpoints]


def _all_batch(client: MLClient) -> list[Service]:
    endpoints = call(client, lambda: list(client.batch_endpoints.list()))
    return [_batch(client, one) for one in endpoints]


def _all_containers(client: MLClient) -> list[Service]:
    return [_container(one) for one in containers.groups(client)]


def _online(client: MLClient, endpoint: Any) -> Service:
    kind = KUBERNETES if getattr(endpoint, "compute", None) else ONLINE
    traffic = endpoint.traffic or {}
    try:
        parts = call(client, lambda: list(client.online_deployments.list(endpoint.name)))
    except ResourceNotFoundError:
        parts = []
    text = ", ".join(f"{one.name} {traffic.get(one.name, 0)} %: {_model(one.model)}" for one in parts)
    return Service(
        endpoint.name,
        kind,
        state_text(endpoint.provisioning_state),
        endpoint.scoring_uri or "",
        text or "no deployment",
        endpoint.description or "",
    )


def _batch(client: MLClient, endpoint: Any) -> Service:
    default = batch.default_of(endpoint)
    try:
        parts = batch.deployments(client, endpoint.name)
    except ResourceNotFoundError:
        parts = {}
    text = ", ".join(
        f"{name}{' (default)' * (name == default)}: {_model(one.model)}"
        for name, one in sorted(parts.items())
    )
    return Service(
        endpoint.name,
        BATCH,
        state_text(endpoint.provisioning_state),
        endpoint.scoring_uri or "",
        text or "no deployment",
        endpoint.description or "",
    )


def _container(group: Any) -> Service:
    labels = containers.labels(group)
    return Service(
        group.name,
        ACI,
        containers.state(group),
        containers.address(group),
        labels["model"],
        labels["description"],
    )


def _model(given: Any) -> str:
    """Return `name:version` from a model's resource id."""
    parts = str(given or "").rstrip("/").split("/")
    return (
        f"{parts[-3]}:{parts[-1]}" if len(parts) > 3 and parts[-2] == "versions" else str(given or "no model")
    )
