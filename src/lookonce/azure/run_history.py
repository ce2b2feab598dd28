"""The workspace's run history, over its REST interface: a job's state now, its logs as they grow, its end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.core import PipelineClient
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.rest import HttpRequest

from lookonce.azure.ask import ask
from lookonce.azure.credentials import credential
from lookonce.azure.workspace import management_scope
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

_WORKSPACE = (
    "/subscriptions/{subscription}/resourceGroups/{group}/providers/"
    "Microsoft.MachineLearningServices/workspaces/{workspace}"
)
_CLUSTERS = "2024-10-01"


@dataclass(frozen=True)
class Details:
    """A run now: its state, the signed addresses of its logs by name, why it failed, and its cluster."""

    status: str
    logs: dict[str, str]
    error: str = ""
    cluster: str = ""


class RunHistory:
    """Asks about the runs of one workspace."""

    def __init__(self, client: MLClient, who: TokenCredential) -> None:
        self._client = client
        workspace: Any = ask(client, lambda: client.workspaces.get(str(client.workspace_name)))
        with PipelineClient[Any, Any](workspace.discovery_url, policies=[]) as plain:
            found = ask(client, lambda: _json(plain, workspace.discovery_url))
        host = found.get("history") or found.get("api")
        if not host:
            raise LookonceError(f"workspace {client.workspace_name} names no address of its run history.")
        self._host = str(host).rstrip("/")
        self._workspace = _WORKSPACE.format(
            subscription=client.subscription_id,
            group=client.resource_group_name,
            workspace=client.workspace_name,
        )
        self._who = who
        self._pipeline = self._signed_in()

    def details(self, run: str) -> Details:
        """Of one run. Raises LookonceError."""
        address = f"{self._host}/history/v1.0{self._workspace}/runs/{run}/details"
        try:
            found = ask(self._client, lambda: self._get(address))
        except ResourceNotFoundError:
            raise LookonceError(f"no run {run[:80]!r} in workspace {self._client.workspace_name}.") from None
        error = ((found.get("error") or {}).get("error") or {}).get("message") or ""
        cluster = str(found.get("target") or "")
        return Details(str(found.get("status")), dict(found.get("logFiles") or {}), str(error), cluster)

    def trouble(self, cluster: str) -> str:
        """What a cluster says of why it has no machines; "" for nothing, or where it can't be asked.

        The SDK's own view of a cluster leaves these errors out.
        """
        management = management_scope().removesuffix("/.default")
        address = f"{management}{self._workspace}/computes/{cluster}?api-version={_CLUSTERS}"
        try:
            found = self._get(address)["properties"]["properties"]
            errors = [one.get("error", one) for one in found.get("errors") or ()]
        except (AzureError, KeyError, TypeError, AttributeError):
            return ""
        return "; ".join(f"{one.get('code', '')}: {one.get('message', '')}".strip(": ") for one in errors)

    def _get(self, address: str) -> Any:
        try:
            return _json(self._pipeline, address)
        except HttpResponseError as error:
            if error.status_code != 401:
                raise
            # The token has ended before its time; who has it kept it, so we sign in as if for the first time.
            self._who = credential()
            self._pipeline = self._signed_in()
            return _json(self._pipeline, address)

    def _signed_in(self) -> PipelineClient[Any, Any]:
        policy: Any = BearerTokenCredentialPolicy(self._who, management_scope())
        return PipelineClient(self._host, policies=[policy])


def _json(pipeline: PipelineClient[Any, Any], address: str) -> Any:
    response = pipeline.send_request(HttpRequest("GET", address))
    if response.status_code == 404:
        raise ResourceNotFoundError(response=response)
    if response.status_code >= 300:
        raise HttpResponseError(response=response)
    return json.loads(response.text())
