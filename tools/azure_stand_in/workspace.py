"""The workspace: its description, its default datastores, and places for code snapshots."""

from __future__ import annotations

import json
import uuid
from typing import Any

import yaml

from azure_stand_in.management import Management
from azure_stand_in.operations import LOCATION
from azure_stand_in.resources import PROVIDER, Resource, Resources, now
from azure_stand_in.storage import ARTIFACTS, BLOBS, Storage
from azure_stand_in.tokens import TENANT
from azure_stand_in.wire import Answer, ArmError, Request

SUBSCRIPTION, GROUP, WORKSPACE = "00000000-1111-2222-3333-444444444444", "lookonce-tests", "lookonce"
GROUP_PATH = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
PATH = f"{GROUP_PATH}/providers/{PROVIDER}/workspaces/{WORKSPACE}"
_OWN_DATASTORES = {"workspaceblobstore": BLOBS, "workspaceartifactstore": ARTIFACTS}


class Workspace:
    """The workspace's description, and the credentials of its storage."""

    def __init__(self, base: str, resources: Resources, storage: Storage) -> None:
        self._base, self._resources, self._storage = base, resources, storage
        self._id, self._made = str(uuid.uuid4()), now()
        for name, container in _OWN_DATASTORES.items():
            resources.put(f"datastores/{name}", {"properties": self._datastore(name, container)})

    def join(self, management: Management) -> None:
        """Register handlers at the management plane."""
        management.actions["datastores", "listSecrets"] = self._secrets
        management.actions["codes/versions", "startPendingUpload"] = self._pending_upload
        management.prepared, management.made = self._prepared, self._made_compute

    def description(self) -> Resource:
        """Return the workspace as a resource."""
        host = self._base.removeprefix("https://")
        group = f"{GROUP_PATH}/providers"
        return {
            "id": PATH,
            "name": WORKSPACE,
            "type": f"{PROVIDER}/workspaces",
            "location": LOCATION,
            "tags": {},
            "etag": None,
            "kind": "Default",
            "sku": {"name": "Basic", "tier": "Basic"},
            "identity": {"type": "SystemAssigned", "principalId": str(uuid.UUID(int=1)), "tenantId": TENANT},
            "properties": {
                "friendlyName": WORKSPACE,
                "description": "",
                "workspaceId": self._id,
                "tenantId": TENANT,
                "storageAccount": f"{group}/Microsoft.Storage/storageAccounts/{self._storage.account}",
                "keyVault": f"{group}/Microsoft.Keyvault/vaults/lookonce",
                "applicationInsights": f"{group}/Microsoft.insights/components/lookonce",
                "containerRegistry": f"{group}/Microsoft.ContainerRegistry/registries/lookonce",
                "hbiWorkspace": False,
                "imageBuildCompute": None,
                "provisioningState": "Succeeded",
                "creationTime": self._made,
                "discoveryUrl": f"{self._base}/discovery",
                "mlFlowTrackingUri": f"azureml://{host}/mlflow/v1.0{PATH}",
                "v1LegacyMode": False,
                "publicNetworkAccess": "Enabled",
                "privateLinkCount": 0,
                "storageHnsEnabled": False,
                "allowRoleAssignmentOnRG": True,
                "softDeleteEnabled": False,
                "enableDataIsolation": False,
                "managedNetwork": {
                    "isolationMode": "Disabled",
                    "changeableIsolationModes": ["AllowInternetOutbound", "AllowOnlyApprovedOutbound"],
                },
                "notebookInfo": {
                    "resourceId": uuid.UUID(int=3).hex,
                    "fqdn": "ml-lookonce.notebooks.localhost",
                    "isPrivateLinkEnabled": False,
                    "notebookPreparationError": None,
                },
                "linkedModelInventoryArmId": None,
                "ipAllowlist": [],
                "serverlessComputeSettings": None,
                "EnableSoftwareBillOfMaterials": False,
                "sdkTelemetryAppInsightsKey": str(uuid.UUID(int=4)),
                "sasGetterUri": "",
                "systemDatastoresAuthMode": "accesskey",
                "enableServiceSideCMKEncryption": False,
            },
            "systemData": {"createdAt": self._made, "createdBy": "stand-in", "createdByType": "User"},
        }

    def discovery(self) -> dict[str, str]:
        """Return the addresses of the workspace's other services, which are all here."""
        services = ("api", "history", "modelmanagement", "experimentation", "mlflow", "data")
        return {"studio": "https://ml.azure.localhost", **dict.fromkeys(services, self._base)}

    def _datastore(self, name: str, container: str) -> dict[str, Any]:
        return {
            "description": None,
            "tags": None,
            "properties": None,
            "isDefault": name == "workspaceblobstore",
            "credentials": {"credentialsType": "AccountKey"},
            "subscriptionId": SUBSCRIPTION,
            "resourceGroup": GROUP,
            "datastoreType": "AzureBlob",
            "accountName": self._storage.account,
            "containerName": container,
            "endpoint": "core.windows.net",
            "protocol": "https",
            "serviceDataAccessAuthIdentity": "WorkspaceSystemAssignedIdentity",
        }

    def _secrets(self, place: str, request: Request) -> Answer:
        account = self._resources.get(place)["properties"].get("accountName")
        if account != self._storage.account:
            text = f"The storage account {account} of the datastore cannot be reached."
            raise ArmError(400, "UserError", text, "StorageAccountNotFound")
        if request.json().get("expirableSecret"):
            return Answer(content={"secretsType": "Sas", "sasToken": f"?{self._storage.account_signature()}"})
        return Answer(content={"secretsType": "AccountKey", "key": self._storage.key})

    def _pending_upload(self, place: str, request: Request) -> Answer:
        _, name, _, version = place.split("/")
        container = f"{name}-{version}".lower().replace("_", "-")[:60].strip("-")
        self._storage.container(container)
        address = f"{self._storage.url}/{container}"
        signed = f"{address}?{self._storage.container_signature(container)}"
        reference = {
            "blobUri": address,
            "storageAccountArmId": self.description()["properties"]["storageAccount"],
            "credential": {"credentialType": "SAS", "sasUri": signed},
        }
        content = {
            "pendingUploadId": str(uuid.uuid4()),
            "pendingUploadType": "TemporaryBlobReference",
            "blobReferenceForConsumption": reference,
        }
        return Answer(content=content)

    def _prepared(self, place: str, body: Resource) -> Resource:
        """Return a resource as the service stores it."""
        properties = body["properties"]
        if place.startswith("datastores/"):
            properties = {"subscriptionId": None, "resourceGroup": None, **properties}
            properties.setdefault("serviceDataAccessAuthIdentity", "None")
            if properties.get("credentials"):
                # A secret is stored, and not returned by a read.
                kind = properties["credentials"]["credentialsType"]
                properties["credentials"] = {"credentialsType": kind}
                self._storage.container(str(properties["containerName"]))
        if place.startswith("environments/"):
            properties = _environment(properties)
        if place.startswith("computes/"):
            body = {"location": LOCATION, "tags": None, **body}
            made = (
                self._resources.get(place)["properties"]["createdOn"] if place in self._resources else now()
            )
            properties = {**properties, "createdOn": made, "modifiedOn": now()}
            if properties["computeType"] == "AmlCompute":
                properties["properties"] = _cluster(properties.get("properties") or {})
        return {**body, "properties": properties}

    def _made_compute(self, place: str) -> None:
        found = self._resources.get(place)["properties"] if place.startswith("computes/") else {}
        if found.get("computeType") == "AmlCompute":
            counts = {f"{state}NodeCount": 0 for state in _NODE_STATES}
            cluster = {**found["properties"], "currentNodeCount": 0, "targetNodeCount": 0, "propertyBag": {}}
            cluster |= {"nodeStateCounts": counts, "allocationState": "Steady"}
            cluster["allocationStateTransitionTime"] = now()
            self._resources.change(
                place, properties=cluster, provisioningWarnings={}, computeLocation=LOCATION
            )


_NODE_STATES = ("preparing", "running", "idle", "unusable", "leaving", "preempted")


def _cluster(sent: Resource) -> Resource:
    """Return a cluster that is being created, without information on nodes."""
    unknown = dict.fromkeys(
        ("subnet", "currentNodeCount", "targetNodeCount", "nodeStateCounts", "allocationState", "errors")
    )
    cluster = {
        **unknown,
        "vmPriority": "Dedicated",
        "remoteLoginPortPublicAccess": "NotSpecified",
        "osType": "Linux",
        "virtualMachineImage": None,
        "isolatedNetwork": False,
        "enableNodePublicIp": True,
        "enableBatchPrivateLink": False,
        **{key: value for key, value in sent.items() if value is not None},
    }
    cluster.pop("userAccountCredentials", None)
    return {**cluster, "vmSize": str(cluster.get("vmSize", "")).upper()}


def _environment(sent: Resource) -> Resource:
    """Return an environment without unset fields, and with conda's file as JSON."""
    kept = {key: value for key, value in sent.items() if value is not None or key not in _MAY_MISS}
    if kept.get("condaFile"):
        kept["condaFile"] = json.dumps(yaml.safe_load(kept["condaFile"]), indent=2)
    if kept.get("build"):
        kept["condaFile"] = ""
        kept["build"] = {"dockerfilePath": "Dockerfile", **kept["build"]}
    return {**kept, "properties": {"azureml.labels": "latest", **(kept.get("properties") or {})}}


_MAY_MISS = ("image", "condaFile", "build", "inferenceConfig")


def elsewhere(path: str) -> ArmError:
    """Return the resource manager's error for a path outside this workspace."""
    parts = path.strip("/").split("/")
    if len(parts) > 1 and parts[1].lower() != SUBSCRIPTION.lower():
        return ArmError(404, "SubscriptionNotFound", f"The subscription '{parts[1]}' could not be found.")
    if not path.lower().startswith(GROUP_PATH.lower()):
        group = parts[3] if len(parts) > 3 else ""
        return ArmError(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
    text = (
        f"The Resource '{'/'.join(parts[5:8])}' under resource group '{parts[3]}' was not found. For more "
        "details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    return ArmError(404, "ResourceNotFound", text)
