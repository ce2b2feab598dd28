"""Rules that batch endpoints, their deployments and invocations must satisfy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from azure_stand_in.endpoint_place import id_of
from azure_stand_in.endpoint_rules import InferencingError
from azure_stand_in.resources import Resources
from azure_stand_in.wire import ArmError

_DATA = ("UriFile", "UriFolder", "MLTable", "Literal", "TritonModel", "MLFlowModel", "CustomModel")
# Properties of an invocation; the SDK has no class for them any more.
_FIELDS = {
    "inputData": dict,
    "outputData": dict,
    "compute": dict,
    "retrySettings": dict,
    "errorThreshold": int,
    "miniBatchSize": int,
    "outputFileName": str,
    "outputDataset": dict,
    "name": str,
    "properties": dict,
    "dataset": str,
}


def check_endpoint(resources: Resources, place: str, properties: dict[str, Any]) -> None:
    """Check a batch endpoint that is created or updated; normalise the case of its values."""
    if properties["authMode"].lower() == "aadtoken":
        properties["authMode"] = "AADToken"
    else:
        raise _bad(f"authMode {properties['authMode']} is not supported for batch endpoints; use AADToken.")
    default = (properties.get("defaults") or {}).get("deploymentName")
    if default and f"{place}/deployments/{default}" not in resources:
        raise _bad(f"The default deployment '{default}' does not exist.")


def check_deployment(resources: Resources, properties: Mapping[str, Any]) -> None:
    """Check a batch deployment that is created or updated."""
    if not properties.get("compute"):
        raise _bad("A batch deployment needs a compute.")
    found = resources.get(id_of(str(properties["compute"])))
    if found["properties"]["computeType"] not in ("AmlCompute", "Kubernetes"):
        raise _bad(f"The compute {found['name']} is no cluster.")
    model = properties.get("model") or {}
    if model and model["referenceType"] != "Id":
        raise _bad(f"A model reference of the type {model['referenceType']} is not supported here.")
    code = (properties.get("codeConfiguration") or {}).get("codeId")
    if not code or not properties.get("environmentId"):
        raise _bad("A deployment of a custom model needs codeConfiguration and environmentId.")
    for one in (model.get("assetId"), code, properties["environmentId"]):
        if one:
            resources.get(id_of(str(one)))
    size = properties.get("miniBatchSize")
    if size is not None and size < 1:
        raise _bad("miniBatchSize must be 1 or more.")


def check_leaving(resources: Resources, place: str) -> None:
    """Check whether a resource may be deleted."""
    endpoint, _, name = place.partition("/deployments/")
    if name and endpoint in resources:
        defaults = resources.get(endpoint)["properties"].get("defaults") or {}
        if str(defaults.get("deploymentName")).lower() == name.lower():
            raise InferencingError(f"Deployment {name} is the endpoint's default and cannot be deleted.")


def check_invocation(body: Any) -> dict[str, Any]:
    """Check the properties of an invocation. Raises ArmError."""
    if not isinstance(body, dict) or set(body) != {"properties"} or not isinstance(body["properties"], dict):
        raise _invalid("the body must be an object with properties alone")
    properties: dict[str, Any] = body["properties"]
    for name, value in properties.items():
        if name not in _FIELDS:
            raise _invalid(f"could not find member '{name}'")
        if not isinstance(value, _FIELDS[name]) or isinstance(value, bool):
            raise _invalid(f"{name}: {value!r} is not {_FIELDS[name].__name__}")
    for kind, what in (("Input", "inputData"), ("Output", "outputData")):
        for name, one in (properties.get(what) or {}).items():
            found = one.get(f"job{kind}Type") if isinstance(one, dict) else None
            if found not in _DATA:
                raise _invalid(f"{what}.{name}.job{kind}Type: {found!r} is none of {', '.join(_DATA)}")
            if found != "Literal" and kind == "Input" and not one.get("uri"):
                raise _invalid(f"{what}.{name}.uri: the field is required")
            if unknown := set(one) - {f"job{kind}Type", "uri", "mode", "value", "description"}:
                raise _invalid(f"{what}.{name}: could not find member '{min(unknown)}'")
    data = [one for one in (properties.get("inputData") or {}).values() if one["jobInputType"] != "Literal"]
    if len(data) != 1:
        raise _invalid(f"a model deployment takes one input of data, and got {len(data)}")
    if len(properties.get("outputData") or {}) > 1:
        raise _invalid("a model deployment has one output")
    file = properties.get("outputFileName")
    if file is not None and not re.fullmatch(r"[\w.-]+", file):
        raise _invalid(f"outputFileName: {file!r} is no file's name")
    return properties


def _invalid(text: str) -> ArmError:
    return ArmError(400, "ValidationError", f"The request is invalid: {text}.", "InvalidRequestBody")


def _bad(text: str) -> ArmError:
    return ArmError(400, "BadArgument", text, "BadArgument")
