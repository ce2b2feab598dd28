"""Everything about jobs: requests, execution, run history, and the workspace's MLflow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azure_stand_in import workspace as place
from azure_stand_in.addresses import Addresses
from azure_stand_in.history import History
from azure_stand_in.job_requests import JobRequests
from azure_stand_in.jobs import Jobs
from azure_stand_in.management import Management
from azure_stand_in.mlflow_proxy import MlflowProxy
from azure_stand_in.operations import Operations
from azure_stand_in.resources import Resource, Resources
from azure_stand_in.storage import Storage
from azure_stand_in.tokens import Tokens
from azure_stand_in.wire import Answer, Request

_HISTORY = re.compile(r"/(?:history|data)/v\d\.\d" + re.escape(place.PATH) + "/(.+)$", re.IGNORECASE)
_ENDS = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}


class JobService:
    """The jobs of one workspace; nodes reach it at `url` with the variables `trust`."""

    def __init__(
        self,
        folder: Path,
        url: str,
        resources: Resources,
        storage: Storage,
        addresses: Addresses,
        operations: Operations,
        tokens: Tokens,
        trust: Mapping[str, str],
    ) -> None:
        self._url, self._tokens = url, tokens
        self.jobs = Jobs(folder / "jobs", resources, storage, addresses, trust)
        self.jobs.variables = self._variables
        self.jobs.status_changed = self._status_changed
        self.mlflow = MlflowProxy(folder / "mlflow", url.removeprefix("https://"))
        self._requests = JobRequests(url, resources, addresses, self.jobs, operations)
        self._history = History(resources, storage, self.jobs)

    def join(self, management: Management) -> None:
        """Register handlers for jobs at the management plane."""
        before = management.prepared

        def prepared(resource: str, body: Resource) -> Resource:
            body = before(resource, body)
            kind, _, name = resource.partition("/")
            return self._requests.prepared(name, body) if kind == "jobs" else body

        management.prepared = prepared
        management.started = self.jobs.start
        management.actions["jobs", "cancel"] = self._requests.cancel

    def answer(self, request: Request) -> Answer | None:
        """Answer requests to run history and MLflow; return None for others."""
        if (below := self.mlflow.address_below(request.path)) is not None:
            return self.mlflow.answer(below, request)
        if found := _HISTORY.match(request.path):
            return self._history.answer(found[1], request)
        return None

    def close(self) -> None:
        """Stop running jobs."""
        self.jobs.close()
        self.mlflow.close()

    def _variables(self, name: str, job: dict[str, Any]) -> dict[str, str]:
        experiment = job["experimentName"]
        number = self.mlflow.begin_run(name, experiment)
        return {
            "AZUREML_CURRENT_CLOUD": "AzureCloud",
            "AZUREML_RUN_ID": name,
            "AZUREML_ARM_SUBSCRIPTION": place.SUBSCRIPTION,
            "AZUREML_ARM_RESOURCEGROUP": place.GROUP,
            "AZUREML_ARM_WORKSPACE_NAME": place.WORKSPACE,
            "AZUREML_ARM_PROJECT_NAME": experiment,
            "MLFLOW_TRACKING_URI": f"azureml://{self._url.removeprefix('https://')}/mlflow/v1.0{place.PATH}",
            "MLFLOW_TRACKING_TOKEN": self._tokens.make("https://management.azure.com"),
            "MLFLOW_EXPERIMENT_ID": number,
            "MLFLOW_EXPERIMENT_NAME": experiment,
            "MLFLOW_RUN_ID": name,
        }

    def _status_changed(self, name: str, status: str) -> None:
        if status in _ENDS:
            self.mlflow.end_run(name, _ENDS[status])
