"""Batch endpoints: an invocation creates a job whose only step runs the deployment's script on the input."""

from __future__ import annotations

import re
import shlex
import uuid
from pathlib import Path
from typing import Any

from azure_stand_in import workspace
from azure_stand_in.batch_rules import check_deployment, check_endpoint, check_invocation, check_leaving
from azure_stand_in.endpoint_place import id_of
from azure_stand_in.jobs import Jobs
from azure_stand_in.management import Management
from azure_stand_in.resources import Resource, Resources, now
from azure_stand_in.tokens import Tokens
from azure_stand_in.wire import Answer, ArmError, Request, not_found

_INVOKED = re.compile(r"^/batch/([^/]+)/jobs$")
_LISTED = re.compile(
    r"^/mferp/managementfrontend"
    + re.escape(workspace.PATH)
    + r"/batchEndpoints/([^/]+)(?:/deployments/([^/]+))?/jobs$",
    re.IGNORECASE,
)
_CHILDREN = re.compile(
    r"^/history/v\d\.\d" + re.escape(workspace.PATH) + r"/runs/([^/]+)/children$", re.IGNORECASE
)
_JOB = re.compile(re.escape(workspace.PATH) + r"/jobs/([^/]+)$", re.IGNORECASE)
_AUDIENCES = ("https://ml.azure.localhost", "https://ml.azure.com")
_DRIVER = Path(__file__).with_name("batch_driver.py")
# The service's driver imports these from the deployment's environment.
_DRIVERS_OWN = {"azureml-core": "azureml.core", "azureml-dataset-runtime": "azureml.dataprep"}


class BatchEndpoints:
    """The batch endpoints of a workspace; their addresses begin with `url`."""

    def __init__(self, url: str, resources: Resources, jobs: Jobs, tokens: Tokens) -> None:
        self._url, self._resources, self._jobs, self._tokens = url, resources, jobs, tokens
        self._steps: dict[str, str] = {}
        self._parents: dict[str, str] = {}
        self._of: dict[str, tuple[str, str]] = {}

    def join(self, management: Management) -> None:
        """Register handlers for batch endpoints and their jobs at the management plane."""
        self._management = management
        prepared, made, leaving = management.prepared, management.made, management.leaving
        cancel, status_changed = management.actions["jobs", "cancel"], self._jobs.status_changed

        def all_prepared(place: str, body: Resource) -> Resource:
            parts, body = place.split("/"), prepared(place, body)
            if parts[0] == "batchEndpoints" and len(parts) == 2:
                check_endpoint(self._resources, place, body["properties"])
            elif parts[0] == "batchEndpoints":
                check_deployment(self._resources, body["properties"])
            return body

        def all_made(place: str) -> None:
            made(place)
            parts = place.split("/")
            if parts[0] == "batchEndpoints" and len(parts) == 2:
                self._resources.change(place, scoringUri=f"{self._url}/batch/{parts[1]}/jobs")

        def all_leaving(place: str) -> None:
            leaving(place)
            if place.startswith("batchEndpoints/"):
                check_leaving(self._resources, place)

        def canceled(place: str, request: Request) -> Answer:
            name = place.rpartition("/")[2]
            return cancel(f"jobs/{self._steps.get(name, name)}", request)

        def notify(name: str, status: str) -> None:
            status_changed(name, status)
            if parent := self._parents.get(name):
                if name in self._jobs.errors:
                    self._jobs.errors[parent] = self._jobs.errors[name]
                self._resources.change(f"jobs/{parent}", status=status)

        management.prepared, management.made, management.leaving = all_prepared, all_made, all_leaving
        management.actions["jobs", "cancel"] = canceled
        self._jobs.status_changed = notify

    def answer(self, request: Request) -> Answer | None:
        """Answer requests to an endpoint's address and about its jobs; return None for others."""
        if (found := _INVOKED.match(request.path)) and request.method == "POST":
            return self._invoke(found[1], request)
        if found := _LISTED.match(request.path):
            wanted = (found[1].lower(), (found[2] or "").lower())
            names = [name for name, of in reversed(self._of.items()) if wanted in (of, (of[0], ""))]
            return Answer(content={"value": [self._described(name) for name in names]})
        if (found := _CHILDREN.match(request.path)) and found[1] in self._steps:
            return Answer(content={"value": [self._run_of(self._steps[found[1]])]})
        if (found := _JOB.match(request.path)) and found[1] in self._parents and request.method == "GET":
            # Run history has the properties of a pipeline's step.
            return Answer(content={**self._resources.get(f"jobs/{found[1]}"), "properties": None})
        return None

    def _invoke(self, name: str, request: Request) -> Answer:
        audience = str(self._tokens.check(request).get("aud")).rstrip("/")
        if audience not in _AUDIENCES:
            raise ArmError(401, "Unauthorized", f"The access token's audience {audience} is not valid here.")
        endpoint = self._resources.get(f"batchEndpoints/{name}")
        default = (endpoint["properties"].get("defaults") or {}).get("deploymentName")
        chosen = request.headers.get("azureml-model-deployment") or default
        if not chosen:
            raise ArmError(
                400, "BadArgument", f"The endpoint {name} has no default deployment.", "BadArgument"
            )
        place = f"batchEndpoints/{name}/deployments/{chosen}"
        if place not in self._resources:
            raise not_found(f"deployment {chosen} of {name}", "DeploymentNotFound")
        wanted = check_invocation(request.json())
        deployment = self._resources.get(place)["properties"]
        parent, step = f"batchjob-{uuid.uuid4()}", str(uuid.uuid4())
        if given := wanted.get("name"):
            if f"jobs/{given}" in self._resources:
                raise ArmError(409, "Conflict", f"A job of the name {given} is there already.", "Conflict")
            parent = given
        experiment = (wanted.get("properties") or {}).get("experimentName") or name
        body = {"properties": self._step(deployment, wanted, experiment)}
        body = self._management.prepared(f"jobs/{step}", body)
        self._steps[parent], self._parents[step] = step, parent
        self._of[parent] = (name.lower(), chosen.lower())
        self._resources.put(f"jobs/{step}", body)
        self._resources.put(f"jobs/{parent}", {"properties": self._pipeline(parent, body)})
        self._management.started(step)
        return Answer(201, self._described(parent))

    def _step(self, deployment: dict[str, Any], wanted: dict[str, Any], experiment: str) -> dict[str, Any]:
        """Return the command job that is the pipeline's only step."""
        data = next(one for one in wanted["inputData"].values() if one["jobInputType"] != "Literal")
        kind = {"UriFile": "uri_file"}.get(data["jobInputType"], "uri_folder")
        inputs = {"data": {"jobInputType": kind, "uri": data["uri"], "mode": "ReadOnlyMount"}}
        words = ["python", str(_DRIVER), "--script", deployment["codeConfiguration"]["scoringScript"]]
        given = {
            "size": wanted.get("miniBatchSize") or deployment["miniBatchSize"],
            "retries": _retries(wanted, deployment),
            "threshold": wanted.get("errorThreshold", deployment["errorThreshold"]),
            "action": deployment["outputAction"],
            "file-name": wanted.get("outputFileName") or deployment["outputFileName"],
        }
        words += [word for name, value in given.items() for word in (f"--{name}", str(value))]
        command = f"{shlex.join(words)} --input ${{{{inputs.data}}}} --output ${{{{outputs.score}}}}"
        if model := (deployment.get("model") or {}).get("assetId"):
            address = self._resources.get(id_of(model))["properties"]["modelUri"]
            inputs["model"] = {"jobInputType": "custom_model", "uri": address, "mode": "Download"}
            own_name = shlex.quote(address.rstrip("/").rpartition("/")[2])
            command += f" --model ${{{{inputs.model}}}} --model-name {own_name}"
        output: dict[str, Any] = next(iter((wanted.get("outputData") or {}).values()), {})
        score: dict[str, Any] = {"jobOutputType": "uri_folder", "mode": "Upload"}
        if output.get("uri"):
            score["uri"] = output["uri"]
        return {
            "jobType": "Command",
            "command": self.missing(deployment) or command,
            "displayName": "batchscoring",
            "experimentName": experiment,
            "codeId": deployment["codeConfiguration"]["codeId"],
            "environmentId": deployment["environmentId"],
            "environmentVariables": deployment.get("environmentVariables") or {},
            "computeId": deployment["compute"],
            "inputs": inputs,
            "outputs": {"score": score},
            "properties": {"azureml.runsource": "azureml.StepRun"},
        }

    def missing(self, deployment: dict[str, Any]) -> str:
        """Return a command that fails like the driver does without its packages."""
        environment = self._resources.get(id_of(deployment["environmentId"]))["properties"]
        conda = environment.get("condaFile")
        for package, module in _DRIVERS_OWN.items():
            if conda is not None and package not in conda:
                return f"echo \"ModuleNotFoundError: No module named '{module}'\"; exit 1"
        return ""

    def _pipeline(self, name: str, step: Resource) -> dict[str, Any]:
        own = step["properties"]
        default = {"jobOutputType": "uri_folder", "mode": "ReadWriteMount", "description": None}
        uri = f"azureml://datastores/workspaceartifactstore/ExperimentRun/dcid.{name}"
        return {
            "jobType": "Pipeline",
            "description": None,
            "tags": {"azureml.batchrun": "true"},
            "properties": {"azureml.pipelines.stages": "{}", "azureml.runsource": "azureml.PipelineRun"},
            "displayName": name,
            "experimentName": own["experimentName"],
            "isArchived": False,
            "computeId": own["computeId"],
            "status": "Preparing",
            "inputs": {},
            "outputs": {"default": {**default, "uri": uri}, "score": own["outputs"]["score"]},
            "jobs": {},
            "settings": {},
            "services": own["services"],
        }

    def _described(self, name: str) -> Resource:
        found = self._resources.get(f"jobs/{name}")
        endpoint, deployment = self._of[name]
        return {
            "id": found["id"],
            "name": name,
            "type": "Microsoft.MachineLearningServices/workspaces/batchEndpoints/jobs",
            "properties": {
                "name": name,
                "status": found["properties"]["status"],
                "properties": {"endpointName": endpoint, "deploymentName": deployment},
                "outputData": {"score": {"jobOutputType": "UriFolder", **_uri(found["properties"])}},
            },
            "systemData": found["systemData"],
        }

    def _run_of(self, step: str) -> dict[str, Any]:
        found = self._resources.get(f"jobs/{step}")
        return {
            "runId": step,
            "parentRunId": self._parents[step],
            "rootRunId": self._parents[step],
            "displayName": "batchscoring",
            "status": found["properties"]["status"],
            "experimentId": str(uuid.uuid5(uuid.NAMESPACE_DNS, found["properties"]["experimentName"])),
            "createdUtc": found["systemData"]["createdAt"],
            "lastModifiedUtc": now(),
            "createdFrom": "Service",
            "tags": {},
            "properties": found["properties"]["properties"],
        }


def _retries(wanted: dict[str, Any], deployment: dict[str, Any]) -> int:
    settings = wanted.get("retrySettings") or deployment.get("retrySettings") or {}
    return int(settings.get("maxRetries") or 0)


def _uri(job: dict[str, Any]) -> dict[str, str]:
    return {"uri": job["outputs"]["score"]["uri"]}
