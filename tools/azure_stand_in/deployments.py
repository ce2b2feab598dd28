"""Online endpoints that serve: processes on this machine behind an address with a key."""

from __future__ import annotations

import contextlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from azure.ai.ml._restclient.arm_ml_service import models

from azure_stand_in import rules
from azure_stand_in.endpoint_front import Front, Running
from azure_stand_in.endpoint_keys import EndpointKeys
from azure_stand_in.endpoint_place import DeploymentError, Places
from azure_stand_in.endpoint_process import Container
from azure_stand_in.endpoint_rules import check_deployment, check_endpoint, check_leaving
from azure_stand_in.kinds import Kind
from azure_stand_in.management import Management
from azure_stand_in.operations import Operations
from azure_stand_in.resources import Resource, Resources
from azure_stand_in.tokens import Tokens
from azure_stand_in.wire import Answer, Request

_LOGS = Kind("Logs", models.DeploymentLogsRequest, "")
_ADDRESS = re.compile(r"^/(?:inference|api/v1/endpoint)/([^/]+)(/.*)$")
_MOST_INSTANCES = 2
_SHARE = {"cpu": "100m", "memory": "500Mi"}
_KUBERNETES_SHARE = {"containerResourceRequests": _SHARE, "containerResourceLimits": None}
_READY_SECONDS = 60.0


class Deployments:
    """The online endpoints of a workspace; their addresses begin with `url`.

    `starting` is called with a deployment's path before its container starts, and may raise ArmError.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        resources: Resources,
        operations: Operations,
        tokens: Tokens,
        places: Places,
    ) -> None:
        self._folder, self._url, self._resources, self._places = folder, url, resources, places
        self.keys = EndpointKeys(resources, operations, tokens)
        self.fronts: dict[str, Front] = {}
        self.starting: Any = lambda place: None
        self.ready_seconds = _READY_SECONDS
        self._logs: dict[str, Path] = {}
        self._started: list[Container] = []
        self._closed = False
        self._lock = threading.Lock()
        self._count = 0

    def join(self, management: Management) -> None:
        """Register handlers for online endpoints at the management plane."""
        prepared, made, gone, leaving = (
            management.prepared,
            management.made,
            management.gone,
            management.leaving,
        )

        def all_prepared(place: str, body: Resource) -> Resource:
            return self._prepared(place, prepared(place, body))

        def all_made(place: str) -> None:
            made(place)
            if place.startswith("onlineEndpoints/"):
                self._made(place)

        def all_gone(ids: list[str]) -> None:
            gone(ids)
            self._gone(ids)

        def all_leaving(place: str) -> None:
            leaving(place)
            if place.startswith("onlineEndpoints/"):
                check_leaving(self._resources, place)

        management.prepared, management.made = all_prepared, all_made
        management.gone, management.leaving = all_gone, all_leaving
        actions = management.actions
        actions["onlineEndpoints", "listKeys"] = self.keys.list
        actions["onlineEndpoints", "regenerateKeys"] = self.keys.regenerate
        actions["onlineEndpoints", "token"] = self.keys.token
        actions["onlineEndpoints/deployments", "getLogs"] = self._get_logs

    def answer(self, request: Request) -> Answer | None:
        """Answer requests to an endpoint's address; return None for others."""
        found = _ADDRESS.match(request.path)
        front = self.fronts.get(f"onlineEndpoints/{found[1]}".lower()) if found else None
        if found is None or front is None:
            return None
        endpoint = self._resources.get(f"onlineEndpoints/{found[1]}")["properties"]
        return front.answer(found[2], endpoint.get("traffic") or {}, request)

    def close(self) -> None:
        """Stop every container, also those that are starting, and start no more."""
        with self._lock:
            self._closed, started = True, list(self._started)
        _end(started)

    def _prepared(self, place: str, body: Resource) -> Resource:
        parts = place.split("/")
        if parts[0] != "onlineEndpoints":
            return body
        properties = body["properties"]
        if len(parts) == 4:
            front = self.fronts.get("/".join(parts[:2]).lower())
            runs = front is not None and parts[3].lower() in front.running
            check_deployment(self._resources, place, properties, runs)
            if properties["endpointComputeType"] == "Kubernetes":
                properties["containerResourceRequirements"] = (
                    properties.get("containerResourceRequirements") or _KUBERNETES_SHARE
                )
            return body
        check_endpoint(self._resources, place, properties)
        if keys := properties.pop("keys", None):
            self.keys.given(place, keys)
        return {**body, "kind": "K8S" if properties.get("compute") else "Managed"}

    def _made(self, place: str) -> None:
        if "/deployments/" in place:
            self._deploy(place)
            return
        self.fronts.setdefault(place.lower(), Front(lambda request: self._refusal(place, request)))
        if not self._resources.get(place)["properties"].get("scoringUri"):
            self._point(place, "/score")

    def _refusal(self, place: str, request: Request) -> str:
        return self.keys.refusal(place, self._resources.get(place)["properties"]["authMode"], request)

    def _point(self, place: str, path: str) -> None:
        """Set an endpoint's address."""
        start = "inference" if self._resources.get(place).get("kind") == "Managed" else "api/v1/endpoint"
        base = f"{self._url}/{start}/{place.split('/')[1]}"
        self._resources.change(place, scoringUri=f"{base}{path}", swaggerUri=f"{base}/swagger.json")

    def _deploy(self, place: str) -> None:
        """Start new containers; stop the old ones once these are ready, keep them otherwise."""
        deployment = self._resources.get(place)
        endpoint, _, name = place.partition("/deployments/")
        with self._lock:
            self._count += 1
            folder = self._folder / f"{place.replace('/', '-')}-{self._count}"
        log = folder.with_suffix(".log")
        self._logs[place.lower()] = log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        self.starting(place)
        command = self._places.fill(deployment, folder)
        wanted = (deployment.get("sku") or {}).get("capacity") or 1
        containers = [Container(command, log) for _ in range(min(wanted, _MOST_INSTANCES))]
        with self._lock:
            if self._closed:
                return
            self._started = [one for one in self._started if one.alive] + containers
            for container in containers:
                container.start()
        with ThreadPoolExecutor(len(containers)) as waiting:
            reasons = [*waiting.map(lambda one: one.wait_ready(self.ready_seconds), containers)]
        front = self.fronts.get(endpoint.lower())
        reason = next(filter(None, reasons), "") or ("" if front else "The endpoint was deleted.")
        if reason or front is None:
            _end(containers)
            raise DeploymentError("ResourceNotReady", reason)
        before = front.running.get(name.lower())
        front.running[name.lower()] = Running(name, deployment["properties"], containers)
        if before is not None:
            _end(before.containers)
        self._point(endpoint, self._places.scoring_path(deployment))

    def _gone(self, ids: list[str]) -> None:
        for one in ids:
            place = one.partition("/onlineEndpoints/")[2].lower()
            if not place:
                continue
            endpoint, _, name = place.partition("/deployments/")
            front = self.fronts.get(f"onlineendpoints/{endpoint}")
            if name and front is not None:
                self._stop(front, name)
                self._forget_traffic(f"onlineEndpoints/{endpoint}", name)
        for one in ids:
            place = "onlineendpoints/" + one.partition("/onlineEndpoints/")[2].lower()
            if "/deployments/" not in place and (front := self.fronts.pop(place, None)):
                for name in list(front.running):
                    self._stop(front, name)
                self.keys.forget(place)

    def _forget_traffic(self, endpoint: str, name: str) -> None:
        if endpoint in self._resources:
            traffic = self._resources.get(endpoint)["properties"].get("traffic") or {}
            left = {one: share for one, share in traffic.items() if one.lower() != name}
            self._resources.change(endpoint, traffic=left)

    def _stop(self, front: Front, name: str) -> None:
        if (running := front.running.pop(name.lower(), None)) is not None:
            _end(running.containers)

    def _get_logs(self, place: str, request: Request) -> Answer:
        body = request.json()
        rules.check_body(_LOGS, body)
        self._resources.get(place)
        if body.get("containerType") == "StorageInitializer":
            return Answer(content={"content": "Downloading model and code: done.\n"})
        log = self._logs.get(place.lower())
        lines: list[str] = []
        with contextlib.suppress(OSError):
            lines = log.read_text(errors="replace").splitlines() if log else []
        tail = body.get("tail")
        last = lines[-tail:] if tail else lines
        instance = "SystemSetup" if not lines else "SystemInitialized"
        return Answer(content={"content": "\n".join([f"Instance status: {instance}", *last]) + "\n"})


def _end(containers: list[Container]) -> None:
    for container in containers:
        container.stop()
