"""Run history: states of runs, addresses of logs and artifacts, signed addresses for uploads."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from azure_stand_in.jobs import Jobs
from azure_stand_in.resources import Resources
from azure_stand_in.storage import ARTIFACTS, Storage
from azure_stand_in.wire import Answer, Request, not_found

_DETAILS = re.compile(r"runs/([^/]+)/details$")
_RUN = re.compile(r"(?:experiments/[^/]+/)?runs/([^/]+)$")
_ARTIFACTS = re.compile(r"experiments(?:ids)?/[^/]+/runs/([^/]+)/artifacts(?:/(.+))?$")
_ASSET = (
    "azureml://locations/westeurope/workspaces/lookonce/data/azureml_{job}_output_data_{output}/versions/1"
)


class History:
    """Answer requests below `/history/v1.0` and `/data/v1.0`; `place` is the path below the workspace."""

    def __init__(self, resources: Resources, storage: Storage, jobs: Jobs) -> None:
        self._resources, self._storage, self._jobs = resources, storage, jobs
        self._artifact_actions: dict[str, Callable[[str, Request], dict[str, Any]]] = {
            "": lambda run, request: self._list(run, ""),
            "path": lambda run, request: self._list(run, request.query["path"]),
            "contentinfo": lambda run, request: self._content(run, request.query["path"]),
            "prefix/contentinfo": lambda run, request: self._contents(run, request.query.get("path", "")),
            "batch/metadata": lambda run, request: self._reserve(run, request.json()),
        }

    def answer(self, place: str, request: Request) -> Answer:
        """Answer a request. Raises ArmError."""
        if found := _DETAILS.match(place):
            return Answer(content=self._details(found[1]))
        if found := _ARTIFACTS.match(place):
            action = self._artifact_actions.get(found[2] or "")
            if action is not None:
                return Answer(content=action(found[1], request))
        if place == "rundata":
            return Answer(content={"runMetadata": self._metadata(request.json()["runId"])})
        if place == "dataversion/batchGetResolvedUris":
            return Answer(content={"values": self._resolved(request.json()["values"])})
        if re.match(r"runs/[^/]+/children$", place):
            return Answer(content={"value": []})
        if found := _RUN.match(place):
            if request.method == "PATCH":
                self._modify(found[1], request.json())
            return Answer(content=self._metadata(found[1]))
        raise not_found(request.path)

    def _job(self, name: str) -> dict[str, Any]:
        return dict(self._resources.get(f"jobs/{name}")["properties"])

    def _modify(self, name: str, wanted: dict[str, Any]) -> None:
        job = self._job(name)
        changed = {key: value for key, value in wanted.items() if value is not None}
        for key in ("tags", "properties"):
            if key in changed:
                changed[key] = {**(job.get(key) or {}), **changed[key]}
        self._resources.change(f"jobs/{name}", **changed)

    def _details(self, name: str) -> dict[str, Any]:
        job, start = self._job(name), f"{_folder(name)}/"
        logs = [
            blob[len(start) :]
            for blob in self._storage.names(ARTIFACTS, start)
            if blob[len(start) :].startswith(("user_logs/", "azureml-logs/", "system_logs/"))
        ]
        return {
            "runId": name,
            "target": str(job.get("computeId") or "serverless").rpartition("/")[2],
            "status": job["status"],
            "startTimeUtc": self._resources.get(f"jobs/{name}")["systemData"]["createdAt"],
            "endTimeUtc": None,
            "error": self._jobs.errors.get(name),
            "warnings": [],
            "properties": job.get("properties") or {},
            "inputDatasets": [],
            "logFiles": {log: self._address(f"{start}{log}") for log in logs},
        }

    def _metadata(self, name: str) -> dict[str, Any]:
        if f"jobs/{name}" not in self._resources:
            raise not_found(f"run {name}", "RunNotFound")
        job = self._job(name)
        outputs = {
            output: {"assetId": _ASSET.format(job=name, output=output), "type": one["jobOutputType"]}
            for output, one in job["outputs"].items()
            if output != "default" and job["status"] == "Completed"
        }
        return {
            "runId": name,
            "status": job["status"],
            "displayName": job.get("displayName"),
            "description": job.get("description"),
            "tags": job.get("tags") or {},
            "properties": job.get("properties") or {},
            "error": self._jobs.errors.get(name),
            "outputs": outputs,
        }

    def _resolved(self, assets: list[str]) -> dict[str, Any]:
        found = {}
        for asset in assets:
            job, _, output = asset.split("/data/azureml_")[1].split("/")[0].partition("_output_data_")
            one = self._job(job)["outputs"][output]
            found[asset] = {"uri": one["uri"], "type": "UriFolder"}
        return found

    def _list(self, run: str, below: str) -> dict[str, Any]:
        start = f"{_folder(run)}/"
        names = self._storage.names(ARTIFACTS, f"{start}{below}")
        return {"value": [_artifact(run, name[len(start) :]) for name in names]}

    def _content(self, run: str, path: str) -> dict[str, Any]:
        name = f"{_folder(run)}/{path}"
        if name not in self._storage.names(ARTIFACTS, name):
            raise not_found(f"artifact {path} of run {run}", "ArtifactNotFound")
        return {**_named(run, path), "contentUri": self._address(name)}

    def _contents(self, run: str, below: str) -> dict[str, Any]:
        found = self._list(run, below)["value"]
        return {"value": [self._content(run, one["path"]) for one in found]}

    def _reserve(self, run: str, wanted: dict[str, Any]) -> dict[str, Any]:
        paths = [one["path"] for one in wanted["paths"]]
        return {
            "artifacts": {path: _artifact(run, path) for path in paths},
            "artifactContentInformation": {
                path: {**_named(run, path), "contentUri": self._address(f"{_folder(run)}/{path}")}
                for path in paths
            },
            "errors": {},
        }

    def _address(self, blob: str) -> str:
        signature = self._storage.container_signature(ARTIFACTS)
        return f"{self._storage.url}/{ARTIFACTS}/{blob}?{signature}"


def _folder(run: str) -> str:
    return f"ExperimentRun/dcid.{run}"


def _named(run: str, path: str) -> dict[str, Any]:
    return {"origin": "ExperimentRun", "container": f"dcid.{run}", "path": path, "tags": {}}


def _artifact(run: str, path: str) -> dict[str, Any]:
    where = {"dataStoreName": "workspaceartifactstore", "relativePath": f"{_folder(run)}/{path}"}
    return {**_named(run, path), "artifactId": f"{_folder(run)}/{path}", "dataPath": where}
