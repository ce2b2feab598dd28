"""The kinds of resources below a workspace: their bodies, names and defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from azure.ai.ml._restclient.arm_ml_service import models
from azure.ai.ml._restclient.arm_ml_service._utils.model_base import Model

_ASSET = r"[a-zA-Z0-9][a-zA-Z0-9\-_]{0,254}"
_ENDPOINT = r"(?=.{3,32}$)[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?"
_COMPUTE = r"[a-zA-Z](?![a-zA-Z0-9-]*-\d+$)[a-zA-Z0-9\-]{2,23}"
_VERSION = r"[a-zA-Z0-9][a-zA-Z0-9\-_.]{0,254}"


@dataclass(frozen=True)
class Kind:
    """A kind of resource.

    Args:
        noun: its name in the service's errors.
        body: the SDK's class of its requests and responses.
        name: the pattern of its names.
        added: defaults of properties in responses.
        fixed: immutable properties.
        slow: creating and deleting are long-running operations.
        tracked: responses have location, tags, kind and identity beside the properties.
        changes: the SDK's class of PATCH requests, if there is one.
    """

    noun: str
    body: type[Model]
    name: str
    added: Mapping[str, Any] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    slow: bool = False
    tracked: bool = False
    changes: type[Model] | None = None

    def fits(self, name: str) -> bool:
        """Return whether a name is valid for the kind."""
        return re.fullmatch(self.name, name) is not None


_COMMON: dict[str, Any] = {"description": None, "tags": {}, "properties": {}}
_CONTAINER = {**_COMMON, "isArchived": False, "latestVersion": None, "nextVersion": "1"}
_VERSIONED = {**_COMMON, "isArchived": False, "isAnonymous": False}
_OWNED = {**_VERSIONED, "autoDeleteSetting": None, "stage": "Development", "intellectualProperty": None}
_PROBE = {
    "failureThreshold": 30,
    "successThreshold": 1,
    "timeout": "PT2S",
    "period": "PT10S",
    "initialDelay": "PT10S",
}
_ENDPOINT_ADDED: dict[str, Any] = {
    "description": None,
    "properties": {},
    "scoringUri": None,
    "swaggerUri": None,
}
_DEPLOYMENT: dict[str, Any] = {
    "description": None,
    "properties": {},
    "environmentId": None,
    "environmentVariables": {},
    "codeConfiguration": None,
}

KINDS = {
    "datastores": Kind("Datastore", models.Datastore, "[a-zA-Z0-9_]{1,255}", {**_COMMON, "isDefault": False}),
    "computes": Kind(
        "Compute",
        models.ComputeResource,
        _COMPUTE,
        {
            "description": None,
            "disableLocalAuth": False,
            "isAttachedCompute": False,
            "provisioningErrors": None,
            "provisioningWarnings": None,
            "resourceId": None,
        },
        slow=True,
    ),
    "codes": Kind("Code", models.CodeContainer, _ASSET, _CONTAINER),
    "codes/versions": Kind("Code", models.CodeVersion, _VERSION, _VERSIONED, ("codeUri",)),
    "data": Kind("Data", models.DataContainer, _ASSET, _CONTAINER),
    "data/versions": Kind(
        "Data", models.DataVersionBase, _VERSION, {**_OWNED, "stage": None}, ("dataUri", "dataType")
    ),
    "environments": Kind("Environment", models.EnvironmentContainer, _ASSET, _CONTAINER),
    "environments/versions": Kind(
        "Environment",
        models.EnvironmentVersion,
        _VERSION,
        {
            **_OWNED,
            "environmentType": "UserCreated",
            "osType": "Linux",
            "autoRebuild": "Disabled",
        },
        ("image", "condaFile", "inferenceConfig"),
    ),
    "models": Kind("Model", models.ModelContainer, _ASSET, _CONTAINER),
    "models/versions": Kind(
        "Model",
        models.ModelVersion,
        _VERSION,
        {
            **_OWNED,
            "flavors": {},
            "modelType": "custom_model",
            "jobName": None,
        },
        ("modelUri", "modelType"),
    ),
    "jobs": Kind("Job", models.JobBase, _ASSET),
    "onlineEndpoints": Kind(
        "Endpoint",
        models.OnlineEndpoint,
        _ENDPOINT,
        {
            **_ENDPOINT_ADDED,
            "compute": None,
            "traffic": {},
            "mirrorTraffic": {},
            "publicNetworkAccess": "Enabled",
        },
        ("authMode", "compute"),
        slow=True,
        tracked=True,
        changes=models.PartialMinimalTrackedResourceWithIdentity,
    ),
    "onlineEndpoints/deployments": Kind(
        "Deployment",
        models.OnlineDeployment,
        _ENDPOINT,
        {
            **_DEPLOYMENT,
            "appInsightsEnabled": False,
            "egressPublicNetworkAccess": "Enabled",
            "model": None,
            "modelMountPath": None,
            "scaleSettings": {"scaleType": "Default"},
            "requestSettings": {
                "maxQueueWait": "PT0S",
                "requestTimeout": "PT5S",
                "maxConcurrentRequestsPerInstance": 1,
            },
            "livenessProbe": _PROBE,
            "readinessProbe": _PROBE,
            "dataCollector": None,
        },
        slow=True,
        tracked=True,
        changes=models.PartialMinimalTrackedResourceWithSku,
    ),
    "batchEndpoints": Kind(
        "Endpoint",
        models.BatchEndpoint,
        _ENDPOINT,
        {**_ENDPOINT_ADDED, "defaults": {"deploymentName": None}},
        slow=True,
        tracked=True,
        changes=models.PartialMinimalTrackedResourceWithIdentity,
    ),
    "batchEndpoints/deployments": Kind(
        "Deployment",
        models.BatchDeployment,
        _ENDPOINT,
        {
            **_DEPLOYMENT,
            "compute": None,
            "model": None,
            "errorThreshold": -1,
            "loggingLevel": "Info",
            "maxConcurrencyPerInstance": 1,
            "miniBatchSize": 10,
            "outputAction": "AppendRow",
            "outputFileName": "predictions.csv",
            "resources": {"instanceCount": 1, "instanceType": None, "properties": {}},
            "retrySettings": {"maxRetries": 3, "timeout": "PT30S"},
        },
        slow=True,
        tracked=True,
        changes=models.PartialBatchDeploymentPartialMinimalTrackedResourceWithProperties,
    ),
}
