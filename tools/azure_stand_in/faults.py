"""Inject faults of networks and clouds, with the real service's status codes and words."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure_stand_in.endpoint_place import DeploymentError
from azure_stand_in.endpoint_rules import InferencingError
from azure_stand_in.fault_texts import FORBIDDEN, NAME_TAKEN, NO_CLUSTER, NO_CORES, NO_IMAGE, NO_QUOTA
from azure_stand_in.resources import PROVIDER
from azure_stand_in.storage import ARTIFACTS
from azure_stand_in.wire import HANG_UP, Answer, ArmError, Request
from azure_stand_in.workspace import PATH, SUBSCRIPTION

if TYPE_CHECKING:
    from azure_stand_in.stand_in import StandIn

BUILD_LOG = "azureml-logs/20_image_build_log.txt"
_TOKEN = "/oauth2/v2.0/token"
_VERBS = {"GET": "read", "DELETE": "delete", "POST": "action"}


@dataclass
class _Fault:
    times: int
    method: str | None
    ending: str | None
    answer: Callable[[Request], Answer]

    def fits(self, request: Request) -> bool:
        """Return whether the fault applies to a request; token requests only if `ending` names them."""
        if self.method not in (None, request.method):
            return False
        if self.ending is None:
            return not request.path.endswith((_TOKEN, "/openid-configuration"))
        return request.path.lower().endswith(self.ending.lower())


class Faults:
    """Each method injects a fault from now on; `clear` removes all faults.

    `times` is the number of affected requests. `method` and `ending` select them by GET, PUT, … and the end
    of their paths.
    """

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._lock, self._within = threading.Lock(), threading.local()
        self._faults: list[_Fault] = []
        self._made = stand_in.management.made
        self._prepared = stand_in.management.prepared
        self._quota: set[str] = set()
        self._taken: set[str] = set()
        self._build_log: str | None = None
        self._seconds, self._cleared = 0.0, threading.Event()
        stand_in.management.made = self._making
        stand_in.management.prepared = self._preparing
        stand_in.jobs.image_build = self._building_for_job
        stand_in.jobs.waits = self._waiting
        stand_in.deployments.starting = self._building_for_deployment

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()
        self._quota.clear()
        self._taken.clear()
        self._build_log = None
        self._seconds = 0.0
        self._cleared.set()
        self._cleared = threading.Event()
        self._stand_in.names.drops = 0
        self._stand_in.names.bytes_per_second = None
        self._stand_in.tokens.seconds = 3600.0

    def answer(self, request: Request) -> Answer | None:
        """Return the faulty answer to a request, or None. Raises ArmError."""
        if getattr(self._within, "fault", False):
            return None
        with self._lock:
            fault = next((one for one in self._faults if one.times > 0 and one.fits(request)), None)
            if fault is None:
                return None
            fault.times -= 1
        return fault.answer(request)

    def throttle(
        self, times: int, retry_after: float | None = 1, method: str | None = None, ending: str | None = None
    ) -> None:
        """Answer 429 with a Retry-After of so many seconds."""
        text = "Received too many requests in a short amount of time. Retry again after some seconds."
        self._refuse(times, method, ending, 429, "TooManyRequests", text, retry_after)

    def unavailable(
        self,
        times: int,
        retry_after: float | None = None,
        method: str | None = None,
        ending: str | None = None,
    ) -> None:
        """Answer 503."""
        text = "The service is unavailable. Please try again later."
        self._refuse(times, method, ending, 503, "ServiceUnavailable", text, retry_after)

    def hang_up(self, times: int, method: str | None = None, ending: str | None = None) -> None:
        """Close the connection without an answer."""
        self._add(times, method, ending, lambda request: HANG_UP)

    def forbid(self, times: int = 1000, method: str | None = None, ending: str | None = None) -> None:
        """Answer 403: the client's role does not allow the action."""

        def refuse(request: Request) -> Answer:
            who = self._stand_in.tokens.client_id
            kinds = re.sub(re.escape(PATH), "", request.path, flags=re.IGNORECASE).strip("/").split("/")
            action = "/".join([PROVIDER, "workspaces", *filter(None, kinds[::2])])
            verb = _VERBS.get(request.method, "write")
            text = FORBIDDEN.format(who=who, action=f"{action}/{verb}", scope=request.path)
            raise ArmError(403, "AuthorizationFailed", text)

        self._add(times, method, ending, refuse)

    def lose_answers(self, times: int, method: str | None = None, ending: str | None = None) -> None:
        """Process the request, and close the connection without an answer."""

        def lose(request: Request) -> Answer:
            self._answered(request)
            return HANG_UP

        self._add(times, method, ending, lose)

    def expire_tokens(self, method: str | None = None, ending: str | None = None) -> None:
        """Expire all tokens early, now or at a selected request; clients still consider them valid."""

        def expire(request: Request) -> Answer:
            self._stand_in.tokens.end_all()
            return self._answered(request)

        if method is None and ending is None:
            self._stand_in.tokens.end_all()
        else:
            self._add(1, method, ending, expire)

    def short_tokens(self, seconds: float) -> None:
        """Set the lifetime of new tokens."""
        self._stand_in.tokens.seconds = seconds

    def slow_operations(self, seconds: float) -> None:
        """Make operations take so much longer, until `clear`."""
        self._seconds = seconds

    def slow_uploads(self, bytes_per_second: float) -> None:
        """Limit the upload rate of each connection to the storage."""
        self._stand_in.names.bytes_per_second = bytes_per_second

    def drop_uploads(self, times: int, after_bytes: int) -> None:
        """Break `times` connections to the storage after so many bytes."""
        self._stand_in.names.drop_after = after_bytes
        self._stand_in.names.drops = times

    def quota(self, *kinds: str) -> None:
        """Exhaust the quota: creating "computes" fails, "onlineEndpoints" refuse deployments.

        "jobs" stay queued, and their cluster reports the reason.
        """
        self._quota.update(kinds)

    def image_build_failure(
        self, log: str = "ERROR: No matching distribution found for nothing==0\n"
    ) -> None:
        """Fail image builds of jobs and deployments, with a build log."""
        self._build_log = log

    def name_taken(self, *names: str) -> None:
        """Let endpoint names be taken by others in the region."""
        self._taken.update(name.lower() for name in names)

    def _answered(self, request: Request) -> Answer:
        """Return the answer to a request without further faults. Raises ArmError."""
        self._within.fault = True
        try:
            return self._stand_in.answer(request)
        finally:
            self._within.fault = False

    def _refuse(self, times: int, method: str | None, ending: str | None, *what: Any) -> None:
        status, code, text, seconds = what
        headers = {} if seconds is None else {"Retry-After": f"{seconds:g}"}
        answer = ArmError(status, code, text, headers=headers).answer()
        self._add(times, method, ending, lambda request: answer)

    def _add(
        self, times: int, method: str | None, ending: str | None, answer: Callable[[Request], Answer]
    ) -> None:
        with self._lock:
            self._faults.append(_Fault(times, method, ending, answer))

    def _making(self, place: str) -> None:
        self._cleared.wait(self._seconds)
        if place.startswith("computes/") and "computes" in self._quota:
            raise ArmError(400, "BadRequest", NO_CLUSTER, "ClusterMinNodesExceedCoreQuota")
        self._made(place)

    def _preparing(self, place: str, body: dict[str, Any]) -> dict[str, Any]:
        parts = place.split("/")
        if parts[0] == "onlineEndpoints" and len(parts) == 4 and "onlineEndpoints" in self._quota:
            size = body["properties"].get("instanceType")
            text = NO_QUOTA.format(size=size, subscription=SUBSCRIPTION)
            refusal = InferencingError(text)
            refusal.inner["errors"] = {"VmSize": [text]}
            raise refusal
        fresh = place not in self._stand_in.resources
        if parts[0].endswith("Endpoints") and len(parts) == 2 and fresh and parts[1].lower() in self._taken:
            raise InferencingError(NAME_TAKEN)
        return self._prepared(place, body)

    def _waiting(self, name: str) -> bool:
        cluster = str(self._stand_in.resources.get(f"jobs/{name}")["properties"].get("computeId") or "")
        if cluster in self._stand_in.resources:
            found = self._stand_in.resources.get(cluster)["properties"]["properties"]
            error = {"error": {"code": "ClusterCoreQuotaReached", "message": NO_CORES}}
            errors = [error] if "jobs" in self._quota else None
            self._stand_in.resources.change(cluster, properties={**found, "errors": errors})
        return "jobs" in self._quota

    def _building_for_job(self, name: str) -> None:
        if self._build_log is None:
            return
        self._stand_in.storage.write(
            ARTIFACTS, f"ExperimentRun/dcid.{name}/{BUILD_LOG}", self._build_log.encode()
        )
        text = f"Image build failed. For more details, check log file {BUILD_LOG}."
        raise ArmError(400, "UserError", text, "ImageBuildFailure")

    def _building_for_deployment(self, place: str) -> None:
        if self._build_log is None:
            return
        log = f"azureml/ImageLogs/{place.rpartition('/')[2]}/build.log"
        container, _, path = log.partition("/")
        self._stand_in.storage.write(container, path, self._build_log.encode())
        text = NO_IMAGE.format(account=self._stand_in.storage.account, log=log)
        raise DeploymentError("ImageBuildFailure", text)
