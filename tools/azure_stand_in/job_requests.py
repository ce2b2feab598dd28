"""Requests about jobs at the management plane: create and cancel; defaults of a new job."""

from __future__ import annotations

from typing import Any

from azure_stand_in.addresses import Addresses
from azure_stand_in.jobs import Jobs
from azure_stand_in.operations import Operations
from azure_stand_in.resources import Resource, Resources
from azure_stand_in.wire import Answer, ArmError, Request
from azure_stand_in.workspace import GROUP_PATH, PATH, WORKSPACE

_UNNAMED = {"description": None, "assetName": None}
_RESOURCES = {
    "instanceCount": 1,
    "instanceType": None,
    "properties": None,
    "shmSize": "2g",
    "dockerArgs": None,
}


class JobRequests:
    """Check a new job, and complete it as the service does."""

    def __init__(
        self, base: str, resources: Resources, addresses: Addresses, jobs: Jobs, operations: Operations
    ) -> None:
        self._base, self._resources, self._addresses = base, resources, addresses
        self._jobs, self._operations = jobs, operations

    def cancel(self, place: str, request: Request) -> Answer:
        """Answer 202; the job is canceled some time later."""
        name = str(self._resources.get(place)["name"])
        return Answer(202, headers=self._operations.begin(lambda: self._jobs.cancel(name)))

    def prepared(self, name: str, body: Resource) -> Resource:
        """Return a command job with its references resolved. Raises ArmError."""
        job = body["properties"]
        if job["jobType"] != "Command":
            text = f"Jobs of type {job['jobType']} are not run here."
            raise ArmError(400, "UserError", text, "UnsupportedJobType")
        self._check_named(job)
        uri = f"azureml://datastores/workspaceartifactstore/ExperimentRun/dcid.{name}"
        default = {"jobOutputType": "uri_folder", "mode": "ReadWriteMount", "uri": uri, **_UNNAMED}
        inputs = {key: {"description": None, **one} for key, one in (job.get("inputs") or {}).items()}
        outputs = {key: self._output(name, key, one) for key, one in (job.get("outputs") or {}).items()}
        return {
            **body,
            "properties": {
                "description": None,
                "tags": {},
                "properties": {},
                "componentId": None,
                "codeId": None,
                "displayName": name,
                "experimentName": "Default",
                "isArchived": False,
                "identity": None,
                "notificationSetting": None,
                "distribution": None,
                "limits": None,
                "environmentVariables": {},
                "parameters": {},
                "queueSettings": {"jobTier": "Null"},
                **job,
                "status": "Queued",
                "inputs": inputs,
                "outputs": {**outputs, "default": default},
                "resources": {**_RESOURCES, **(job.get("resources") or {})},
                "services": self._services(name),
            },
        }

    def _check_named(self, job: dict[str, Any]) -> None:
        compute = job.get("computeId") or ""
        if compute and compute.rpartition("/")[2] != "serverless" and compute not in self._resources:
            text = f"Unknown compute target '{compute.rpartition('/')[2]}'."
            raise ArmError(400, "UserError", text, "ComputeNotFound")
        if not compute and not (job.get("resources") or {}).get("instanceType"):
            text = "A job needs a compute, or an instance type for serverless compute."
            raise ArmError(400, "UserError", text, "ComputeMissing")
        for name in ("environmentId", "codeId"):
            address = str(job.get(name) or "").removeprefix("azureml:")
            if address.startswith("/subscriptions/"):
                self._resources.get(address)
        for given in (job.get("inputs") or {}).values():
            if given["jobInputType"] != "literal":
                self._addresses.place(given["uri"], "data")
        most = self._resources.get(compute)["properties"] if compute in self._resources else {}
        nodes = (job.get("resources") or {}).get("instanceCount") or 1
        limit = ((most.get("properties") or {}).get("scaleSettings") or {}).get("maxNodeCount", nodes)
        if nodes > limit:
            text = f"The job wants {nodes} nodes; the compute has {limit} at most."
            raise ArmError(400, "UserError", text, "InvalidInstanceCount")

    def _output(self, job: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
        address = given.get("uri") or f"azureml://datastores/workspaceblobstore/paths/azureml/{job}/{name}/"
        return {
            "mode": "ReadWriteMount",
            **_UNNAMED,
            **given,
            "uri": self._addresses.canonical(address.replace("${{name}}", job)),
        }

    def _services(self, name: str) -> dict[str, Any]:
        host = self._base.removeprefix("https://")
        where = f"{GROUP_PATH}/workspaces/{WORKSPACE}"
        addresses = {
            "Tracking": f"azureml://{host}/mlflow/v1.0{PATH}?",
            "Studio": f"https://ml.azure.localhost/runs/{name}?wsid={where}",
        }
        empty = dict.fromkeys(("port", "status", "errorMessage", "properties", "nodes"))
        return {
            kind: {**empty, "jobServiceType": kind, "endpoint": address}
            for kind, address in addresses.items()
        }
