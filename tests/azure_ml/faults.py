"""Faults on demand: what networks, clouds and their limits do to a client, in the real service's words."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure_ml.endpoint_place import DeploymentError
from azure_ml.endpoint_rules import InferencingError
from azure_ml.resources import PROVIDER
from azure_ml.storage import ARTIFACTS
from azure_ml.wire import HANG_UP, Answer, ArmError, Request
from azure_ml.workspace import PATH, SUBSCRIPTION

if TYPE_CHECKING:
    from azure_ml.stand_in import StandIn

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
        self._lock = threading.Lock()
        self._faults: list[_Fault] = []
        self._made = stand_in.management.made
        self._prepared = stand_in.management.prepared
        self._quota: set[str] = set()
        self._taken: set[str] = set()
        self._build_log: str | None = None
        self._seconds = 0.0
        stand_in.management.made = self._making
        stand_in.management.prepared = self._preparing
        stand_in.jobs.image_build = self._building_for_job
        stand_in.deployments.starting = self._building_for_deployment

    def clear(self) -> None:
        """All is well again."""
        with self._lock:
            self._faults.clear()
        self._quota.clear()
        self._taken.clear()
        self._build_log = None
        self._seconds = 0.0
        self._stand_in.names.drops = 0
        self._stand_in.names.bytes_per_second = None
        self._stand_in.tokens.seconds = 3600.0

    def answer(self, request: Request) -> Answer | None:
        """What goes wrong with this request, if anything does. Raises ArmError."""
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
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        self._refuse(times, method, ending, ArmError(429, "TooManyRequests", text, headers=headers))

    def unavailable(
        self,
        times: int,
        retry_after: float | None = None,
        method: str | None = None,
        ending: str | None = None,
    ) -> None:
        """503."""
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        text = "The service is unavailable. Please try again later."
        self._refuse(times, method, ending, ArmError(503, "ServiceUnavailable", text, headers=headers))

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
            text = (
                f"The client '{who}' with object id '{who}' does not have authorization to perform action "
                f"'{action}/{verb}' over scope '{request.path}' or the scope is invalid. If access was "
                "recently granted, please refresh your credentials."
            )
            raise ArmError(403, "AuthorizationFailed", text)

        self._add(times, method, ending, refuse)

    def lose_answers(self, times: int, method: str | None = None, ending: str | None = None) -> None:
        """What was asked for is done, and the connection ends before the client hears of it."""

        def lose(request: Request) -> Answer:
            self._stand_in.answer(request)
            return HANG_UP

        self._add(times, method, ending, lose)

    def expire_tokens(self, method: str | None = None, ending: str | None = None) -> None:
        """All given so far, now, or when such a request comes; the client believes in them."""

        def expire(request: Request) -> Answer:
            self._stand_in.tokens.end_all()
            return self._stand_in.answer(request)

        if method is None and ending is None:
            self._stand_in.tokens.end_all()
        else:
            self._add(1, method, ending, expire)

    def short_tokens(self, seconds: float) -> None:
        """New tokens live so long."""
        self._stand_in.tokens.seconds = seconds

    def slow_operations(self, seconds: float) -> None:
        """What goes on after the answer takes so much longer."""
        self._seconds = seconds

    def slow_uploads(self, bytes_per_second: float) -> None:
        """To the storage, for each connection."""
        self._stand_in.names.bytes_per_second = bytes_per_second

    def drop_uploads(self, times: int, after_bytes: int) -> None:
        """So many connections to the storage break when so much has been sent through them."""
        self._stand_in.names.drop_after = after_bytes
        self._stand_in.names.drops = times

    def quota(self, *kinds: str) -> None:
        """No cores are left for "computes" (their operation fails), or "onlineEndpoints" (refused)."""
        self._quota.update(kinds)

    def image_build_failure(
        self, log: str = "ERROR: No matching distribution found for nothing==0\n"
    ) -> None:
        """Images of jobs and deployments can't be built, and the build's log says why."""
        self._build_log = log

    def name_taken(self, *names: str) -> None:
        """Somebody else in the region has endpoints of these names."""
        self._taken.update(name.lower() for name in names)

    def _refuse(self, times: int, method: str | None, ending: str | None, error: ArmError) -> None:
        self._add(times, method, ending, lambda request: error.answer())

    def _add(
        self, times: int, method: str | None, ending: str | None, answer: Callable[[Request], Answer]
    ) -> None:
        with self._lock:
            self._faults.append(_Fault(times, method, ending, answer))

    def _making(self, place: str) -> None:
        time.sleep(self._seconds)
        if place.startswith("computes/") and "computes" in self._quota:
            text = (
                "The specified subscription has a total vCPU quota of 0 and cannot accomodate for at least 1 "
                "requested managed compute node which maps to 4 vCPUs."
            )
            raise ArmError(400, "BadRequest", text, "ClusterMinNodesExceedCoreQuota")
        self._made(place)

    def _preparing(self, place: str, body: dict[str, Any]) -> dict[str, Any]:
        parts = place.split("/")
        if parts[0] == "onlineEndpoints" and len(parts) == 4 and "onlineEndpoints" in self._quota:
            size = body["properties"].get("instanceType")
            text = (
                f"Not enough quota available for {size} in SubscriptionId {SUBSCRIPTION}. Current "
                "usage/limit: 0/0. Additional needed: 8 Please see troubleshooting guide, available here: "
                "https://aka.ms/oe-tsg#error-outofquota"
            )
            refusal = InferencingError(text)
            refusal.inner["errors"] = {"VmSize": [text]}
            raise refusal
        fresh = place not in self._stand_in.resources
        if parts[0].endswith("Endpoints") and len(parts) == 2 and fresh and parts[1].lower() in self._taken:
            text = (
                "There is already an endpoint with this name, Endpoint name needs to be unique within a "
                "region. Try some other name."
            )
            raise InferencingError(text)
        return self._prepared(place, body)

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
        text = (
            "Environment Image Build Failed. Please see the build log for more information: the build log is "
            f'available in the workspace blob store "{self._stand_in.storage.account}" under the path '
            f'"/{log}".'
        )
        raise DeploymentError("ImageBuildFailure", text)
