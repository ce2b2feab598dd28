"""Rules for endpoints and deployments that depend on other resources of the workspace."""

from __future__ import annotations

import json
from typing import Any

from azure_stand_in.endpoint_place import id_of
from azure_stand_in.resources import Resources
from azure_stand_in.wire import ArmError

_BUSY = ("Creating", "Updating", "Deleting")


class InferencingError(ArmError):
    """An error of the service behind the management plane: a JSON text within the error."""

    def __init__(self, text: str) -> None:
        super().__init__(400, "BadRequest", "The request is invalid.", "InferencingClientCallFailed")
        self.inner = {"errors": {"": [text]}, "title": "One or more validation errors occurred."}

    def body(self) -> dict[str, Any]:
        """Return the error's body; the inner message holds the reason."""
        body = super().body()
        body["error"]["details"][0]["message"] = json.dumps(self.inner)
        return body


def check_endpoint(resources: Resources, place: str, properties: dict[str, Any]) -> None:
    """Check an endpoint that is created or updated."""
    _check_idle(resources, place)
    compute = properties.get("compute")
    if compute:
        found = resources.get(compute)
        if found["properties"]["computeType"] != "Kubernetes":
            raise _bad(f"The compute {found['name']} is no Kubernetes cluster.")
        if properties["authMode"].lower() == "aadtoken":
            raise _bad("authMode AADToken is not supported for Kubernetes endpoints.")
    mirrored = properties.get("mirrorTraffic") or {}
    if sum(mirrored.values()) > 50 or len(mirrored) > 1:
        raise _bad("mirrorTraffic must name one deployment, with at most 50 percent.")


def check_deployment(resources: Resources, place: str, properties: dict[str, Any], runs: bool) -> None:
    """Check a deployment that is created or updated; `runs` says whether it has running containers."""
    endpoint = resources.get(place.partition("/deployments/")[0])
    _check_idle(resources, place)
    wanted = "Kubernetes" if endpoint["properties"].get("compute") else "Managed"
    if properties["endpointComputeType"] != wanted:
        text = f"A deployment of the endpoint {endpoint['name']} must have the endpointComputeType {wanted}."
        raise _bad(text)
    if endpoint["properties"]["provisioningState"] == "Failed":
        raise _bad(f"The endpoint {endpoint['name']} is in a failed state.")
    named = [properties.get(name) for name in ("model", "environmentId")]
    named.append((properties.get("codeConfiguration") or {}).get("codeId"))
    for one in filter(None, named):
        resources.get(id_of(str(one)))
    if (
        not runs
        and place in resources
        and resources.get(place)["properties"]["provisioningState"] == "Failed"
    ):
        name = place.rpartition("/")[2]
        text = (
            f"Specified deployment [{name}] failed during initial provisioning and is in an unrecoverable "
            "state. Delete and re-create."
        )
        raise InferencingError(text)


def check_leaving(resources: Resources, place: str) -> None:
    """Check whether a resource may be deleted."""
    _check_idle(resources, place)
    endpoint, _, name = place.partition("/deployments/")
    if not name or endpoint not in resources:
        return
    traffic = resources.get(endpoint)["properties"].get("traffic") or {}
    if share := next((share for one, share in traffic.items() if one.lower() == name.lower()), 0):
        text = f"Deployment {name} has {share}% of the endpoint's traffic. Set it to 0 before you delete it."
        raise InferencingError(text)


def _check_idle(resources: Resources, place: str) -> None:
    if place not in resources:
        return
    state = resources.get(place)["properties"].get("provisioningState")
    if state in _BUSY:
        name = place.rpartition("/")[2]
        text = f"There is already an operation in progress for {name}: its state is {state}."
        raise ArmError(409, "Conflict", text, "Conflict")


def _bad(text: str) -> ArmError:
    return ArmError(400, "BadArgument", text, "BadArgument")
