"""The management plane: create, read, list, update and delete resources like the resource manager."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from azure_stand_in import rules
from azure_stand_in.addresses import Addresses
from azure_stand_in.kinds import KINDS, Kind
from azure_stand_in.operations import LOCATION, Operations
from azure_stand_in.resources import Resource, Resources
from azure_stand_in.tokens import TENANT
from azure_stand_in.wire import Answer, ArmError, Request, not_found

Action = Callable[[str, Request], Answer]
_PAGE = 30
_ANSWERED = ("id", "name", "type", "systemData")


class Management:
    """Answer requests below the workspace.

    `made` is called in the operation that creates a slow resource, `leaving` before a deletion, which it may
    refuse, `gone` with the ids of deleted resources. `started` is called with a new job's name. `actions`
    handle POSTs: {(kind, last part of the path): handler}.
    """

    def __init__(self, resources: Resources, operations: Operations, addresses: Addresses) -> None:
        self._resources, self._operations, self._addresses = resources, operations, addresses
        self.actions: dict[tuple[str, str], Action] = {}
        self.made: Callable[[str], None] = lambda place: None
        self.leaving: Callable[[str], None] = lambda place: None
        self.gone: Callable[[list[str]], None] = lambda ids: None
        self.prepared: Callable[[str, Resource], Resource] = lambda place, body: body
        self.started: Callable[[str], None] = lambda name: None

    def answer(self, place: str, request: Request) -> Answer:
        """Answer a request; `place` is the path below the workspace. Raises ArmError."""
        parts = place.split("/")
        if request.method == "POST":
            action = self.actions.get(("/".join(parts[:-1][::2]), parts[-1]))
            if action is None:
                raise not_found(request.path, "NoSuchAction")
            return action("/".join(parts[:-1]), request)
        kind = KINDS.get("/".join(parts[::2]))
        if kind is None:
            raise ArmError(404, "InvalidResourceType", f"The resource type could not be found: {place}.")
        if len(parts) % 2:
            return self._list(place, request)
        if request.method == "GET":
            return Answer(content=_response(place, self._resources.get(place)))
        if request.method in ("PUT", "PATCH"):
            return self._put(place, kind, request)
        if request.method == "DELETE":
            return self._delete(place, kind)
        raise ArmError(405, "MethodNotAllowed", f"{request.method} is not supported here.")

    def _put(self, place: str, kind: Kind, request: Request) -> Answer:
        parts, body = place.split("/"), request.json()
        before = self._resources.get(place) if place in self._resources else None
        if request.method == "PATCH":
            if before is None:
                raise not_found(place)
            if kind.changes is not None:
                rules.check_body(replace(kind, body=kind.changes), body)
            body = _merged({key: before[key] for key in before if key not in _ANSWERED}, body)
        else:
            rules.check_name(kind, parts[-1])
            rules.check_body(kind, body)
        if len(parts) == 4 and parts[2] == "deployments" and "/".join(parts[:2]) not in self._resources:
            raise not_found(f"endpoint {parts[1]}", "EndpointNotFound")
        rules.check_meaning(place, body)
        for name in ("dataUri", "modelUri"):
            if isinstance(address := body["properties"].get(name), str):
                body["properties"][name] = self._addresses.canonical(address)
        body = self.prepared(place, body)
        if before is not None:
            rules.check_unchanged(kind, before, body)
        if parts[0] == "onlineEndpoints" and len(parts) == 2:
            self._check_traffic_leads_somewhere(place, body)
        return self._keep(place, kind, body, before, request)

    def _keep(
        self, place: str, kind: Kind, body: Resource, before: Resource | None, request: Request
    ) -> Answer:
        parts = place.split("/")
        kept = {**(before or {}).get("properties", {}), **body["properties"]}
        body = {**body, "properties": _completed(kind.added, kept)}
        if kind.tracked:
            body = _tracked(parts[0], body)
        if kind.slow:
            body["properties"]["provisioningState"] = "Updating" if before else "Creating"
        elif parts[0] not in _STATELESS:
            body["properties"]["provisioningState"] = "Succeeded"
        answer = _response(place, self._resources.put(place, body))
        location = f"https://{request.headers.get('host', '')}{request.path}"
        headers = {"Location": location} if before is None else {}
        if len(parts) == 4 and parts[2] == "versions":
            self._count_version(parts, kind)
        if parts[0] == "jobs" and before is None:
            self.started(parts[1])
        if kind.slow:
            headers |= self._operations.begin(lambda: self._finish(place))
        return Answer(200 if before else 201, answer, headers)

    def _finish(self, place: str) -> None:
        try:
            self.made(place)
        except ArmError:
            self._resources.change(place, provisioningState="Failed")
            raise
        self._resources.change(place, provisioningState="Succeeded")

    def _count_version(self, parts: list[str], kind: Kind) -> None:
        """Create the container of a version, with the latest and the next version."""
        container = "/".join(parts[:2])
        if container not in self._resources:
            added = dict(KINDS[parts[0]].added)
            if parts[0] == "data":
                added["dataType"] = self._resources.get("/".join(parts))["properties"]["dataType"]
            else:
                added["provisioningState"] = "Succeeded"
            self._resources.put(container, {"properties": added})
        numbers = [
            int(one["name"])
            for one in self._resources.below(f"{container}/versions")
            if one["name"].isdigit()
        ]
        following = str(max(numbers, default=0) + 1)
        self._resources.change(container, latestVersion=parts[3], nextVersion=following)

    def _check_traffic_leads_somewhere(self, place: str, body: Resource) -> None:
        for name, share in (body["properties"].get("traffic") or {}).items():
            deployment = f"{place}/deployments/{name}"
            if deployment not in self._resources:
                text = f"Traffic names the deployment '{name}', which the endpoint does not have."
                raise ArmError(400, "BadArgument", text, "InvalidTraffic")
            state = self._resources.get(deployment)["properties"]["provisioningState"]
            if share and state != "Succeeded":
                text = f"Traffic cannot go to the deployment '{name}': its state is {state}."
                raise ArmError(400, "BadArgument", text, "ResourceNotReady")

    def _list(self, place: str, request: Request) -> Answer:
        if request.method != "GET":
            raise ArmError(405, "MethodNotAllowed", f"{request.method} is not supported here.")
        parent, _, _ = place.rpartition("/")
        if parent and parent not in self._resources and "hash" not in request.query:
            raise not_found(parent)
        found = [_response(place, one) for one in self._resources.below(place) if _wanted(one, request.query)]
        first, size = int(request.query.get("$skip", 0)), int(request.query.get("$top", _PAGE))
        content: dict[str, Any] = {"value": found[first : first + size]}
        if "$top" not in request.query and first + size < len(found):
            address = (
                f"https://{request.headers['host']}{request.path}?{request.raw_query.split('&$skip')[0]}"
            )
            content["nextLink"] = f"{address}&$skip={first + size}"
        return Answer(content=content)

    def _delete(self, place: str, kind: Kind) -> Answer:
        if place not in self._resources:
            return Answer(204)
        if place.startswith("jobs/") and self._resources.get(place)["properties"]["status"] not in ENDED:
            raise ArmError(400, "UserError", "A job that runs cannot be deleted; cancel it.", "JobIsRunning")
        self.leaving(place)
        if not kind.slow:
            self.gone(self._resources.delete(place))
            return Answer(200)
        self._resources.change(place, provisioningState="Deleting")
        return Answer(202, headers=self._operations.begin(lambda: self.gone(self._resources.delete(place))))


ENDED = ("Completed", "Failed", "Canceled")
_STATELESS = ("jobs", "datastores", "data")
# The parts of systemData in responses of some kinds.
_MADE = ("createdAt", "createdBy", "createdByType")
_CHANGED = ("createdAt", "createdBy", "lastModifiedAt")
_SYSTEM = {"jobs": _MADE, "data": (*_MADE, "lastModifiedAt"), "onlineEndpoints": _CHANGED}
_SYSTEM |= {"batchEndpoints": _CHANGED, "computes": ()}


def _response(place: str, resource: Resource) -> Resource:
    """Return a resource as a response."""
    names = _SYSTEM.get(place.partition("/")[0])
    if names is None:
        return resource
    system_data = {name: resource["systemData"][name] for name in names}
    return {key: value for key, value in resource.items() if key != "systemData"} | (
        {"systemData": system_data} if system_data else {}
    )


def _completed(added: Mapping[str, Any], sent: Resource) -> Resource:
    """Return properties with defaults filled in, also within objects."""
    completed = {**added, **sent}
    for name, default in added.items():
        if isinstance(default, dict) and default:
            given = {key: value for key, value in (sent.get(name) or {}).items() if value is not None}
            completed[name] = {**default, **given}
    return completed


def _tracked(kind: str, body: Resource) -> Resource:
    """Return an endpoint or deployment with location, tags, identity and machine size."""
    body = {"tags": {}, "location": LOCATION, **body}
    if kind == "onlineEndpoints":
        body = {"kind": "Managed", **body}
    if (body.get("identity") or {}).get("type") == "SystemAssigned":
        body["identity"] = {**body["identity"], "principalId": str(uuid.UUID(int=2)), "tenantId": TENANT}
    if body.get("sku"):
        body["sku"] = {"tier": "Standard", **body["sku"]}
    return {key: value for key, value in body.items() if key not in ("identity", "sku") or value}


def _wanted(one: Resource, query: Any) -> bool:
    properties = one["properties"]
    view = query.get("listViewType", "ActiveOnly")
    if view != "All" and bool(properties.get("isArchived")) != (view == "ArchivedOnly"):
        return False
    if "stage" in query and properties.get("stage") != query["stage"]:
        return False
    if query.get("isDefault", "").lower() == "true" and not properties.get("isDefault"):
        return False
    return "hash" not in query or (properties.get("properties") or {}).get("hash_sha256") == query["hash"]


def _merged(old: Any, new: Any) -> Any:
    """Merge by RFC 7396: remove nulls, merge objects, replace everything else."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    merged = {key: value for key, value in old.items() if key not in new or new[key] is not None}
    return merged | {key: _merged(old.get(key), value) for key, value in new.items() if value is not None}
