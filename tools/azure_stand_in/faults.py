"""Faults on demand: what networks, clouds and their limits do to a client, in the real service's words."""

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
        """Whether this request is one of those. Tokens are spared unless they are what is named."""
        if self.method not in (None, request.method):
            return False
        if self.ending is None:
            return not request.path.endswith((_TOKEN, "/openid-configuration"))
        return request.path.lower().endswith(self.ending.lower())


class Faults:
    """Each method makes something go wrong from now on; `clear` ends all of it.

    `times` is how many requests meet it. `method` and `ending` choose them: GET, PUT, …, and how their paths
    end.
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
        """All is well again."""
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
        """What goes wrong with this request, if anything does. Raises ArmError."""
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
        """429, with the seconds after which to ask again."""
        text = "Received too many requests in a short amount of time. Retry again after some seconds."
        self._refuse(times, method, ending, 429, "TooManyRequests", text, retry_after)

    def unavailable(
        self,
        times: int,
        retry_after: float | None = None,
        method: str | None = None,
        ending: str | None = None,
    ) -> None:
        """503."""
        text = "The service is unavailable. Please try again later."
        self._refuse(times, method, ending, 503, "ServiceUnavailable", text, retry_after)

    def hang_up(self, times: int, method: str | None = None, ending: str | None = None) -> None:
        """The connection ends without an answer."""
        self._add(times, method, ending, lambda request: HANG_UP)

    def forbid(self, times: int = 1000, method: str | None = None, ending: str | None = None) -> None:
        """403: the role that the client has doesn't allow it."""

        def refuse(request: Request) -> Answer:
            who = self._stand_in.tokens.client_id
            kinds = re.sub(re.escape(PATH), "", request.path, flags=re.IGNORECASE).strip("/").split("/")
            action = "/".join([PROVIDER, "workspaces", *filter(None, kinds[::2])])
            verb = _VERBS.get(request.method, "write")
            text = FORBIDDEN.format(who=who, action=f"{action}/{verb}", scope=request.path)
            raise ArmError(403, "AuthorizationFailed", text)

        self._add(times, method, ending, refuse)

    def lose_answers(self, times: int, method: str | None = None, ending: str | None = None) -> None:
        """What was asked for is done, and the connection ends before the client hears of it."""

        def lose(request: Request) -> Answer:
            self._answered(request)
            return HANG_UP

        self._add(times, method, ending, lose)

    def expire_tokens(self, method: str | None = None, ending: str | None = None) -> None:
        """All given so far, now, or when such a request comes; the client believes in them."""

        def expire(request: Request) -> Answer:
            self._stand_in.tokens.end_all()
            return self._answered(request)

        if method is None and ending is None:
            self._stand_in.tokens.end_all()
        else:
            self._add(1, method, ending, expire)

    def short_tokens(self, seconds: float) -> None:
        """New tokens live so long."""
        self._stand_in.tokens.seconds = seconds

    def slow_operations(self, seconds: float) -> None:
        """Make operations take so much longer, until `clear`."""
        self._seconds = seconds

    def slow_uploads(self, bytes_per_second: float) -> None:
        """To the storage, for each connection."""
        self._stand_in.names.bytes_per_second = bytes_per_second

    def drop_uploads(self, times: int, after_bytes: int) -> None:
        """So many connections to the storage break when so much has been sent through them."""
        self._stand_in.names.drop_after = after_bytes
        self._stand_in.names.drops = times

    def quota(self, *kinds: str) -> None:
        """No cores are left: the operation of "computes" fails, "onlineEndpoints" refuse deployments.

        "jobs" stay queued while a cluster says why.
        """
        self._quota.update(kinds)

    def image_build_failure(
        self, log: str = "ERROR: No matching distribution found for nothing==0\n"
    ) -> None:
        """Images of jobs and deployments can't be built, and the build's log says why."""
        self._build_log = log

    def name_taken(self, *names: str) -> None:
        """Somebody else in the region has endpoints of these names."""
        self._taken.update(name.lower() for name in names)

    def _answered(self, request: Request) -> Answer:
        """What is answered where this request meets no further fault. Raises ArmError."""
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
