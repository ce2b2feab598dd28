"""The workspace's services of every kind: found by name, listed, their logs, their ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure import endpoint_logs, online_parts
from lookonce.azure.ask import ask
from lookonce.azure.operations import plain
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


@dataclass(frozen=True)
class Service:
    """One service. `deployments` says who has the traffic, and with which model, for people."""

    name: str
    kind: str
    state: str
    address: str
    deployments: str
    description: str = ""


def found(client: MLClient, service: str) -> Service:
    """The one of that name, of any kind. Raises LookonceError."""
    if (endpoint := online_parts.find_endpoint(client, service)) is not None:
        return _online(client, endpoint)
    raise no_service(client, service)


def no_service(client: MLClient, service: str) -> LookonceError:
    """To be raised: there is none of that name; which there are."""
    known = ", ".join(one.name for one in services(client)) or "none"
    return LookonceError(
        f"no service {service[:60]!r} in workspace {client.workspace_name}; there is {known}. Those of this "
        "machine: lookonce deploy list"
    )


def services(client: MLClient) -> list[Service]:
    """All of them, by name. Raises LookonceError."""
    online = ask(client, lambda: list(client.online_endpoints.list()))
    return sorted((_online(client, one) for one in online), key=lambda one: (one.name, one.kind))


def key(client: MLClient, service: Service) -> str:
    """What opens it. Raises LookonceError."""
    keys = ask(client, lambda: client.online_endpoints.get_keys(service.name))
    # An endpoint that somebody else made may hand out tokens instead.
    return str(getattr(keys, "primary_key", None) or getattr(keys, "access_token", ""))


def logs(client: MLClient, service: Service, deployment: str | None, count: int) -> dict[str, list[str]]:
    """The last lines of each deployment, or of one. Raises LookonceError."""
    names = _deployments(client, service.name)
    if deployment is not None and deployment not in names:
        raise _no_deployment(service, deployment, names)
    wanted = names if deployment is None else [deployment]
    return {name: endpoint_logs.last_lines(client, service.name, name, count) for name in wanted}


def delete(client: MLClient, service: Service, deployment: str | None) -> str:
    """End it, or one deployment of it; what was deleted, for people. Raises LookonceError."""
    names = _deployments(client, service.name)
    if deployment is None:
        online_parts.delete_endpoint(client, service.name)
        with_them = f" with {' and '.join(names)}" if names else ""
        return f"{service.kind} endpoint {service.name}{with_them}"
    if deployment not in names:
        raise _no_deployment(service, deployment, names)
    online_parts.delete_deployment(client, service.name, deployment)
    return f"deployment {deployment} of {service.name}"


def _online(client: MLClient, endpoint: Any) -> Service:
    kind = "kubernetes" if getattr(endpoint, "compute", None) else "online"
    traffic = endpoint.traffic or {}
    try:
        parts = ask(client, lambda: list(client.online_deployments.list(endpoint.name)))
    except ResourceNotFoundError:
        parts = []
    told = ", ".join(f"{one.name} {traffic.get(one.name, 0)} %: {_model(one.model)}" for one in parts)
    return Service(
        endpoint.name,
        kind,
        plain(endpoint.provisioning_state),
        endpoint.scoring_uri or "",
        told or "no deployment",
        endpoint.description or "",
    )


def _model(given: Any) -> str:
    """`name:version` of a model's id."""
    parts = str(given or "").rstrip("/").split("/")
    return (
        f"{parts[-3]}:{parts[-1]}" if len(parts) > 3 and parts[-2] == "versions" else str(given or "no model")
    )


def _deployments(client: MLClient, service: str) -> list[str]:
    return sorted(one.name for one in ask(client, lambda: list(client.online_deployments.list(service))))


def _no_deployment(service: Service, deployment: str, names: list[str]) -> LookonceError:
    has = ", ".join(names) or "none"
    return LookonceError(f"{service.name} has no deployment {deployment[:60]!r}; it has {has}.")
