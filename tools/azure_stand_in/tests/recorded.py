"""Fields of the real service's responses by name and type, taken from recorded responses.

The recordings are those of Microsoft's own tests of the SDK: Azure/azure-sdk-assets, below
python/sdk/ml/azure-ai-ml/tests/recordings. Each entry names file and api-version.

`name:type`: t text, b boolean, i integer, n number, m map of anything, l list, {…} object with these fields;
0: may be null; ?: optional; +: in no recording that was read, but in the published
interface of the same version does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_SYSTEM = """systemData:{createdAt:t createdBy:t? createdByType:t?
    lastModifiedAt:t? lastModifiedBy:t? lastModifiedByType:t?}"""
_ASSET = f"id:t name:t type:t {_SYSTEM}"
_IDENTITY = "identity:{type:t principalId:t? tenantId:t? userAssignedIdentities:m0+}?"
_TRACKED = f"{_ASSET} location:t tags:m kind:t? {_IDENTITY}"
_CONTAINER = """description:t0 tags:m properties:m isArchived:b latestVersion:t0 nextVersion:t
    provisioningState:t"""
_VERSION = "description:t0 tags:m properties:m isArchived:b isAnonymous:b"
_OWNED = "autoDeleteSetting:0 stage:t0 intellectualProperty:0"
_PROBE = "{failureThreshold:i successThreshold:i timeout:t period:t initialDelay:t}0"

SOURCES = {
    "workspace": "2024-10-01-preview, online_services, test_online_deployment_create",
    "datastores": "2024-07-01-preview, datastore, test_blob_store",
    "datastores listSecrets": "2024-07-01-preview, datastore, test_blob_store",
    "computes": "2022-10-01-preview, 2023-08-01-preview, compute, test_aml_compute_create_and_delete",
    "codes/versions": "2023-04-01, code_asset, test_create_and_get",
    "data/versions": "2023-04-01-preview, dataset, test_data_upload_file",
    "environments": "2023-04-01-preview, environment, test_environment_archive_restore_container",
    "environments/versions": "2023-04-01-preview, environment, …get_latest_label, …docker_context",
    "models": "2023-08-01-preview, model, test_list_no_name",
    "models/versions": "2023-08-01-preview, model, test_crud_file",
    "jobs": "2024-01-01-preview, 2025-01-01-preview, command_job, …with_dataset_short_uri",
    "onlineEndpoints": "2022-02-01-preview, online_services, …skip_script_validation",
    "onlineEndpoints/deployments": "2023-04-01-preview, online_services, test_online_deployment_create",
    "batchEndpoints": "2023-10-01, batch_services, test_batch_endpoint_create",
    "operation": "2022-02-01-preview, online_services, …skip_script_validation; fewer for others",
    "error": "2023-08-01-preview, model, test_crud_file; the resource manager's own has less",
}
FIELDS = {
    "workspace": f"""{_TRACKED} etag:0 sku:{{name:t tier:t}} properties:{{
        friendlyName:t description:t storageAccount:t keyVault:t applicationInsights:t hbiWorkspace:b
        tenantId:t imageBuildCompute:t0 provisioningState:t managedNetwork:{{changeableIsolationModes:l
        isolationMode:t}} allowRoleAssignmentOnRG:b v1LegacyMode:b softDeleteEnabled:b containerRegistry:t
        creationTime:t notebookInfo:{{resourceId:t fqdn:t isPrivateLinkEnabled:b notebookPreparationError:0}}
        storageHnsEnabled:b workspaceId:t linkedModelInventoryArmId:0 privateLinkCount:i publicNetworkAccess:t
        ipAllowlist:l discoveryUrl:t mlFlowTrackingUri:t serverlessComputeSettings:0
        EnableSoftwareBillOfMaterials:b sdkTelemetryAppInsightsKey:t sasGetterUri:t enableDataIsolation:b
        systemDatastoresAuthMode:t enableServiceSideCMKEncryption:b}}""",
    "datastores": f"""{_ASSET} properties:{{description:t0 tags:m0 properties:m0 isDefault:b
        credentials:{{credentialsType:t}} subscriptionId:t0 resourceGroup:t0 datastoreType:t accountName:t
        containerName:t endpoint:t protocol:t serviceDataAccessAuthIdentity:t}}""",
    "datastores listSecrets": "secretsType:t sasToken:t? key:t?",
    "computes": """id:t name:t type:t location:t tags:m0 properties:{
        createdOn:t modifiedOn:t disableLocalAuth:b description:t0 resourceId:t0 computeType:t
        computeLocation:t? provisioningState:t provisioningErrors:l0 provisioningWarnings:m0
        isAttachedCompute:b properties:{vmSize:t vmPriority:t
            scaleSettings:{maxNodeCount:i minNodeCount:i nodeIdleTimeBeforeScaleDown:t?}
            subnet:0 currentNodeCount:i0 targetNodeCount:i0
            nodeStateCounts:{preparingNodeCount:i runningNodeCount:i idleNodeCount:i unusableNodeCount:i
                leavingNodeCount:i preemptedNodeCount:i}0
            allocationState:t0 allocationStateTransitionTime:t? errors:l0 remoteLoginPortPublicAccess:t
            osType:t virtualMachineImage:0 isolatedNetwork:b enableNodePublicIp:b enableBatchPrivateLink:b
            propertyBag:m?
            userAccountCredentials:{adminUserName:t adminUserPassword:0 adminUserSshPublicKey:t0}?}}""",
    "codes/versions": f"{_ASSET} properties:{{{_VERSION} codeUri:t provisioningState:t}}",
    "data/versions": f"{_ASSET} properties:{{{_VERSION} {_OWNED} dataUri:t dataType:t}}",
    "environments": f"{_ASSET} properties:{{{_CONTAINER}}}",
    "environments/versions": f"""{_ASSET} properties:{{{_VERSION} {_OWNED} environmentType:t image:t?
        condaFile:t? build:{{contextUri:t dockerfilePath:t}}? osType:t autoRebuild:t provisioningState:t
        inferenceConfig:m+}}""",
    "models": f"{_ASSET} properties:{{{_CONTAINER}}}",
    "models/versions": f"""{_ASSET} properties:{{{_VERSION} {_OWNED} flavors:m modelType:t modelUri:t
        jobName:t0 provisioningState:t}}""",
    "jobs": f"""{_ASSET} properties:{{description:t0 tags:m properties:m parentJobName:t0? displayName:t
        status:t experimentName:t services:m computeId:t0 isArchived:b identity:{{identityType:t}}0
        componentId:t0 notificationSetting:0 secretsConfiguration:m0? jobType:t
        resources:{{instanceCount:i maxInstanceCount:i0? instanceType:t0 locations:l0? properties:m0 shmSize:t
            dockerArgs:t0 dockerArgsList:l0?}}
        codeId:t0 command:t environmentId:t inputs:m outputs:m distribution:m0 autologgerSettings:m0?
        limits:m0 environmentVariables:m parameters:m queueSettings:{{jobTier:t priority:i0?}}0}}""",
    "job input": "description:t0 uri:t? mode:t? pathOnCompute:t0? jobInputType:t value:t+",
    "job output": """description:t0 uri:t0 assetName:t0 assetVersion:t0? mode:t pathOnCompute:t0?
        autoDeleteSetting:m0? jobOutputType:t""",
    "job service": "jobServiceType:t port:i0 endpoint:t status:t0 errorMessage:t0 properties:m0 nodes:m0",
    "onlineEndpoints": f"""{_TRACKED} properties:{{description:t0 properties:m scoringUri:t0 swaggerUri:t0
        authMode:t provisioningState:t compute:t0 traffic:m mirrorTraffic:m publicNetworkAccess:t}}""",
    "onlineEndpoints/deployments": f"""{_TRACKED} sku:{{name:t tier:t capacity:i}} properties:{{
        description:t0 properties:m codeConfiguration:{{codeId:t0 scoringScript:t}}0 environmentId:t0
        environmentVariables:m scaleSettings:{{scaleType:t}} modelMountPath:t0 appInsightsEnabled:b
        requestSettings:{{maxQueueWait:t requestTimeout:t maxConcurrentRequestsPerInstance:i}}
        livenessProbe:{_PROBE} readinessProbe:{_PROBE} provisioningState:t instanceType:t model:t0
        egressPublicNetworkAccess:t dataCollector:m0 endpointComputeType:t}}""",
    "batchEndpoints": f"""{_TRACKED} properties:{{description:t0 properties:m scoringUri:t0 swaggerUri:t0
        authMode:t defaults:{{deploymentName:t0}} provisioningState:t}}""",
    "operation": "id:t? name:t? status:t startTime:t? endTime:t? percentComplete:n? error:m?",
    "error": "code:t0 message:t details:l? additionalInfo:l?",
    "error detail": "code:t message:t details:l additionalInfo:l",
    "error info": "type:t info:{value:m}",
}
_TYPES: Mapping[str, Any] = {"t": str, "b": bool, "i": int, "n": (int, float), "m": object, "l": list}
_TOKEN = re.compile(r"(\w+):([tbinml]?)(0?[?+]?)(\{)?|\}(0?[?+]?)")

Fields = dict[str, tuple[Any, str]]


def strays(answer: Any, kind: str) -> Iterator[str]:
    """Yield differences to the recorded responses of a kind: unknown and missing fields, other types."""
    yield from _compared(answer, "", parsed(FIELDS[kind]))


def parsed(text: str) -> Fields:
    """Parse each field's type or nested fields, and its flags 0, ?, +."""
    assert not _TOKEN.sub("", text).strip(), _TOKEN.sub("", text)
    return _fields(_TOKEN.finditer(text))


def _fields(tokens: Iterator[re.Match[str]]) -> Fields:
    found: Fields = {}
    for token in tokens:
        name, kind, more, opens, _ = token.groups()
        if name is None:
            found[""] = (None, token[5])
            return found
        inner = _fields(tokens) if opens else None
        found[name] = (kind, more) if inner is None else (inner, inner.pop("")[1])
    return found


def _compared(answer: Any, place: str, known: Fields) -> Iterator[str]:
    if not isinstance(answer, dict):
        yield f"{place}: {answer!r} is not an object"
        return
    for name, value in answer.items():
        path = f"{place}{name}"
        if name not in known:
            yield f"{path}: the service has no such field"
            continue
        kind, more = known[name]
        if value is None:
            if "0" not in more:
                yield f"{path}: is null"
        elif isinstance(kind, dict):
            yield from _compared(value, f"{path}.", kind)
        elif not kind or not isinstance(value, _TYPES[kind]) or (kind in "in" and isinstance(value, bool)):
            yield f"{path}: {value!r} is not what the service answers there"
    yield from (
        f"{place}{name}: is missing"
        for name, (_, more) in known.items()
        if name not in answer and not {"?", "+"} & set(more)
    )
