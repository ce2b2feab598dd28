"""Follow a job over the workspace's run history: its states, and its log line by line."""

from __future__ import annotations

import codecs
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.core import PipelineClient
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.rest import HttpRequest
from azure.storage.blob import BlobClient

from lookonce.azure.errors import without_secrets
from lookonce.azure.jobs import ENDED
from lookonce.azure.retry import call, with_retries
from lookonce.azure.session import credential, management_scope
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
    """The state of a run, the signed addresses of its logs by name, its error, and its cluster."""

    status: str
    logs: dict[str, str]
    error: str = ""
    cluster: str = ""


class RunHistory:
    """Query the run history of one workspace."""

    def __init__(self, client: MLClient, who: TokenCredential) -> None:
        self._client = client
        workspace: Any = call(client, lambda: client.workspaces.get(str(client.workspace_name)))
        with PipelineClient[Any, Any](workspace.discovery_url, policies=[]) as plain:
            found = call(client, lambda: _json(plain, workspace.discovery_url))
        host = found.get("history") or found.get("api")
        if not host:
            raise LookonceError(f"workspace {client.workspace_name} has no address for its run history.")
        self._host = str(host).rstrip("/")
        self._workspace = _WORKSPACE.format(
            subscription=client.subscription_id,
            group=client.resource_group_name,
            workspace=client.workspace_name,
        )
        self._who = who
        self._pipeline = self._signed_in()

    def details(self, run: str) -> Details:
        """Return the details of one run. Raises LookonceError."""
        address = f"{self._host}/history/v1.0{self._workspace}/runs/{run}/details"
        try:
            found = call(self._client, lambda: self._get(address))
        except ResourceNotFoundError:
            raise LookonceError(f"no run {run[:80]!r} in workspace {self._client.workspace_name}.") from None
        error = ((found.get("error") or {}).get("error") or {}).get("message") or ""
        cluster = str(found.get("target") or "")
        return Details(str(found.get("status")), dict(found.get("logFiles") or {}), str(error), cluster)

    def trouble(self, cluster: str) -> str:
        """Return why a cluster has no machines; "" for no reason, or where the cluster cannot be queried.

        The SDK's description of a cluster leaves these errors out.
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
            # The token expired early and the credential has cached it: sign in with a new credential.
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


# Explanations of states; the others are clear or last for a moment.
_MEANINGS = {
    "Provisioning": "starting a machine",
    "Preparing": "the machine fetches image, code and data; building a new image takes about ten minutes",
    "Queued": "waiting for a machine",
    "Running": "showing its log",
    "Finalizing": "saving outputs",
    "CancelRequested": "stopping",
    "NotResponding": "its machine does not respond",
}
_BEFORE = ("NotStarted", "Starting", "Provisioning", "Preparing", "Queued")
_MAIN_LOGS = ("user_logs/std_log.txt", "user_logs/std_log_process_00.txt", "user_logs/std_log_process_0.txt")
_BUILD_LOG = "azureml-logs/20_image_build_log.txt"
_SHORTEST, _LONGEST = 0.5, 5.0
_LAST_LINES = 20
# Query the cluster for the reason after so many seconds in the queue, and again after as many.
_PATIENCE = 10.0


def follow(
    history: RunHistory,
    name: str,
    line: Callable[[str], None],
    note: Callable[[str], None],
    stop: threading.Event,
) -> Details:
    """Follow a job until it ends; pass its log to `line` and its states to `note`; return its last details.

    Raises KeyboardInterrupt once `stop` is set, and LookonceError where the workspace cannot be queried any
    more; the job continues.
    """
    log, status, wait, since, reason = _Log(line), "", _SHORTEST, 0.0, ""
    while True:
        details = history.details(name)
        if details.status != status:
            if status == "Running" and details.status in _BEFORE:
                note("The machine was preempted. The job continues from its last epoch on the next one.")
                log.restart()
            meaning = _MEANINGS.get(details.status)
            note(f"{details.status}{f': {meaning}' if meaning else ''}")
            status, wait, since = details.status, _SHORTEST, time.monotonic()
        if status == "Queued" and time.monotonic() - since > _PATIENCE:
            reason, since = _note_once(history.trouble(details.cluster), reason, note), time.monotonic()
        grown = log.read(details)
        if status in ENDED:
            log.finish()
            if not log.size and _BUILD_LOG in details.logs:
                _show_tail(details.logs[_BUILD_LOG], line)
            return details
        wait = _SHORTEST if grown else min(_LONGEST, wait * 1.3)
        if stop.wait(wait):
            raise KeyboardInterrupt


def _note_once(trouble: str, before: str, note: Callable[[str], None]) -> str:
    """Note a cluster's trouble unless it was the same `before`; return it."""
    if trouble and trouble != before:
        note(f"The cluster has no machine for the job: {without_secrets(trouble)}")
    return trouble


class _Log:
    """The log of a job's first process, read on from the last position."""

    def __init__(self, line: Callable[[str], None]) -> None:
        self._line = line
        self.size = 0
        self.restart()

    def restart(self) -> None:
        """Read from the beginning: another machine writes the log anew."""
        self._read, self._rest = 0, ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self, details: Details) -> bool:
        """Pass on new lines; return whether the log has grown."""
        name = next((one for one in _MAIN_LOGS if one in details.logs), None)
        if name is None:
            return False
        blob = BlobClient.from_blob_url(details.logs[name])
        size = with_retries(lambda: blob.get_blob_properties().size)
        if size < self._read:
            self.restart()
        if size == self._read:
            return False
        content = with_retries(
            lambda: blob.download_blob(offset=self._read, length=size - self._read).readall()
        )
        self._read += len(content)
        self.size += len(content)
        *lines, self._rest = (self._rest + self._decoder.decode(content)).split("\n")
        for text in lines:
            self._line(without_secrets(text.rstrip("\r")))
        return True

    def finish(self) -> None:
        """Pass on a last line without a line end."""
        if self._rest:
            self._line(without_secrets(self._rest))
            self._rest = ""


def _show_tail(address: str, line: Callable[[str], None]) -> None:
    content = with_retries(lambda: BlobClient.from_blob_url(address).download_blob().readall())
    for text in content.decode("utf-8", "replace").splitlines()[-_LAST_LINES:]:
        line(without_secrets(text))
