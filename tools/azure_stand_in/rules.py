"""Rules that every request must satisfy, with the service's status codes and words."""

from __future__ import annotations

from typing import Any

from azure_stand_in import schema
from azure_stand_in.kinds import Kind
from azure_stand_in.wire import ArmError

_CUTS = ("Standard_", "Basic_")


def check_name(kind: Kind, name: str) -> None:
    """Refuse names that do not match the kind's pattern."""
    if not kind.fits(name):
        text = f"The {kind.noun} name '{name}' is invalid: it must match {kind.name}."
        raise ArmError(400, "UserError", text, "InvalidName")


def check_body(kind: Kind, body: Any) -> None:
    """Refuse unknown, missing and read-only fields, and wrong types and values; name all of them."""
    if found := list(schema.complaints(body, kind.body)):
        raise ArmError(400, "UserError", "\n".join(one.lstrip(".") for one in found), "RequestInvalid")


def check_unchanged(kind: Kind, before: dict[str, Any], body: dict[str, Any]) -> None:
    """Refuse changes to a version's content; tags, description and archiving may change."""
    old, new = before["properties"], body["properties"]
    for name in kind.fixed:
        if name in new and _same(old.get(name)) != _same(new[name]):
            text = (
                f"A {kind.noun} of this name and version exists already, and its {name} cannot be changed; "
                "only tags, description and isArchived can be. Use another name or version."
            )
            raise ArmError(409, "UserError", text, "ImmutablePropertyChanged")


def check_meaning(place: str, body: dict[str, Any]) -> None:
    """Check rules beyond the fields' types."""
    properties = body["properties"]
    if place.startswith("computes/") and properties["computeType"] == "AmlCompute":
        _check_cluster(properties.get("properties") or {})
    if "/deployments/" in place and place.startswith("online"):
        _check_deployment(properties, body)
    if place.startswith("onlineEndpoints/") and "/deployments/" not in place:
        _check_traffic(properties.get("traffic") or {})


def _check_cluster(cluster: dict[str, Any]) -> None:
    if not str(cluster.get("vmSize", "")).title().startswith(_CUTS):
        text = f"The specified VM size '{cluster.get('vmSize')}' is not supported in this region."
        raise ArmError(400, "BadArgument", text, "InvalidVmSize")
    scale = cluster.get("scaleSettings") or {}
    if not 0 <= scale.get("minNodeCount", 0) <= scale.get("maxNodeCount", 1):
        text = "minNodeCount must be between 0 and maxNodeCount."
        raise ArmError(400, "BadArgument", text, "InvalidScaleSettings")


def _check_deployment(properties: dict[str, Any], body: dict[str, Any]) -> None:
    if properties["endpointComputeType"] == "Managed":
        if not properties.get("instanceType"):
            raise ArmError(
                400, "BadArgument", "InstanceType is required for a managed deployment.", "BadArgument"
            )
        scaling = (properties.get("scaleSettings") or {"scaleType": "Default"})["scaleType"]
        if scaling != "Default":
            text = f"scaleType {scaling} is not supported for managed deployments; use Default."
            raise ArmError(400, "BadArgument", text, "BadArgument")
    if not properties.get("environmentId") and not properties.get("model"):
        raise ArmError(
            400, "BadArgument", "A deployment without a model needs an environment.", "BadArgument"
        )
    capacity = (body.get("sku") or {}).get("capacity", 1)
    if not isinstance(capacity, int) or capacity < 1:
        raise ArmError(400, "BadArgument", "sku.capacity must be 1 or more.", "BadArgument")


def _check_traffic(traffic: dict[str, int]) -> None:
    total = sum(traffic.values())
    if total not in (0, 100) or any(not 0 <= share <= 100 for share in traffic.values()):
        text = f"The traffic percentages must be 0 to 100 each and 0 or 100 together; they sum up to {total}."
        raise ArmError(400, "BadArgument", text, "InvalidTraffic")


def _same(value: Any) -> Any:
    return value.lower().rstrip("/") if isinstance(value, str) else value
