"""One container group: its rules, the processes of its containers, and its description."""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from azure_stand_in.endpoint_images import Image
from azure_stand_in.endpoint_process import Command, Container
from azure_stand_in.resources import Resource, now
from azure_stand_in.wire import ArmError

PROVIDER = "Microsoft.ContainerInstance"
_NAME = re.compile(r"(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_MOST = {"cpu": 4, "memoryInGB": 16}
_MOST_RESTARTS = 3
_PAUSE_SECONDS = 0.5


class Group:
    """A created group; `body` is its request."""

    def __init__(
        self, path: str, name: str, body: Resource, images: Mapping[str, Image], folder: Path
    ) -> None:
        self.path, self.name, self.body, self._folder = path, name, body, folder
        self.containers: dict[str, Container] = {}
        self._restarts: dict[str, int] = {}
        self._images = images
        self._state = "Pending"
        self._ended = threading.Event()
        self._begun = now()

    def start(self) -> None:
        """Start every container, and restart them according to the group's restartPolicy."""
        self._ended = threading.Event()
        for one in self.body["properties"]["containers"]:
            container = Container(self._command(one), self._folder / f"{one['name']}.log")
            container.start()
            self.containers[one["name"]] = container
        self._state = "Running"
        threading.Thread(target=self._watch, args=(self._ended,), daemon=True).start()

    def stop(self) -> None:
        """Stop all containers; keep their logs."""
        self._ended.set()
        self._state = "Stopped"
        for container in self.containers.values():
            container.stop()

    def logs(self, name: str, tail: str | None) -> str:
        """Return the log of a container so far. Raises ArmError."""
        if name not in [one["name"] for one in self.body["properties"]["containers"]]:
            text = f"The container '{name}' was not found in the container group '{self.name}'."
            raise ArmError(404, "ContainerNotFound", text)
        log = self._folder / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines(keepends=True) if log.exists() else []
        return "".join(lines[-int(tail) :] if tail else lines)

    def description(self) -> Resource:
        """Return the group's description: without secrets, with states and addresses."""
        body = copy.deepcopy(self.body)
        properties = body["properties"]
        for one in properties["containers"]:
            for variable in one["properties"].get("environmentVariables") or []:
                variable.pop("secureValue", None)
            one["properties"]["instanceView"] = self._view(one["name"])
        for one in properties.get("imageRegistryCredentials") or []:
            one.pop("password", None)
        if address := properties.get("ipAddress"):
            # The container's port may be in use on this machine; this port is open.
            ports = {one["port"]: self._port(one["port"]) for one in address["ports"]}
            address["ports"] = [{**one, "port": ports[one["port"]]} for one in address["ports"]]
            address["ip"] = "127.0.0.1"
            if address.get("dnsNameLabel"):
                address["fqdn"] = "127.0.0.1"
        provisioning = "Succeeded" if self._state in ("Running", "Stopped") else self._state
        return {
            "id": self.path,
            "name": self.name,
            "type": f"{PROVIDER}/containerGroups",
            **body,
            "properties": {
                "sku": "Standard",
                "restartPolicy": "Always",
                "isCustomProvisioningTimeout": False,
                **properties,
                "provisioningState": provisioning,
                "instanceView": {"events": [], "state": self._state},
            },
        }

    def _port(self, requested: int) -> int:
        for container in self.containers.values():
            if container.command.inside == requested:
                return container.port
        return requested

    def _command(self, one: Resource) -> Command:
        image, properties = self._images[one["name"]], one["properties"]
        given = {
            variable["name"]: variable.get("secureValue") or variable.get("value") or ""
            for variable in properties.get("environmentVariables") or []
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        return Command(
            image.words({}, properties.get("command")),
            image.surroundings(given, {}),
            self._folder,
            image.port,
            "/",
            "/",
            image.port,
        )

    def _view(self, name: str) -> dict[str, Any]:
        container, restarts = self.containers.get(name), self._restarts.get(name, 0)
        state: dict[str, Any] = {"state": "Waiting", "detailStatus": ""}
        if container is not None and container.alive:
            state = {"state": "Running", "startTime": self._begun, "detailStatus": ""}
        elif container is not None and container.process is not None:
            code = container.process.returncode
            state = {"state": "Terminated", "exitCode": code, "finishTime": now(), "detailStatus": "Error"}
            if self._state == "Running" and self.body["properties"].get("restartPolicy", "Always") != "Never":
                state = {"state": "Waiting", "exitCode": code, "detailStatus": "CrashLoopBackOff"}
        return {"restartCount": restarts, "currentState": state, "events": []}

    def _watch(self, ended: threading.Event) -> None:
        """Restart crashed containers with growing pauses, up to a limit."""
        policy = self.body["properties"].get("restartPolicy", "Always")
        while policy != "Never" and not ended.wait(_PAUSE_SECONDS):
            for name, container in self.containers.items():
                if container.alive or self._restarts.get(name, 0) >= _MOST_RESTARTS:
                    continue
                if policy == "OnFailure" and container.process and container.process.returncode == 0:
                    continue
                self._restarts[name] = self._restarts.get(name, 0) + 1
                if not ended.is_set():
                    container.start()


def check_group(name: str, body: Resource) -> None:
    """Check rules beyond the fields' types. Raises ArmError."""
    if found := list(_complaints(name, body)):
        raise ArmError(400, found[0][0], found[0][1])


def check_change(name: str, before: Resource, body: Resource) -> None:
    """Check that an update changes no immutable property. Raises ArmError."""

    def fixed(one: Resource) -> Any:
        properties = one["properties"]
        resources = [container["properties"]["resources"] for container in properties["containers"]]
        return properties["osType"], properties.get("restartPolicy", "Always"), resources

    if fixed(before) != fixed(body):
        text = (
            f"The updates on container group '{name}' are invalid. To change its os type, restart policy, "
            "CPU, memory or GPU, delete it first and then create a new one."
        )
        raise ArmError(400, "InvalidContainerGroupUpdate", text)


def _complaints(name: str, body: Resource) -> Iterator[tuple[str, str]]:
    properties = body["properties"]
    if not _NAME.fullmatch(name):
        yield "InvalidContainerGroupName", f"The container group name '{name}' must match {_NAME.pattern}."
    if not body.get("location"):
        yield "LocationRequired", "The location property is required for this definition."
    open_ports = set()
    for one in properties["containers"]:
        if not _NAME.fullmatch(one["name"]):
            yield "InvalidContainerName", f"The container name '{one['name']}' must match {_NAME.pattern}."
        for what, most in _MOST.items():
            requested = one["properties"]["resources"]["requests"][what]
            if not 0 < requested <= most:
                text = f"The {what} of the container '{one['name']}' must be above 0 and at most {most}."
                yield "InvalidResourceRequest", text
        open_ports |= {port["port"] for port in one["properties"].get("ports") or []}
        for variable in one["properties"].get("environmentVariables") or []:
            if (variable.get("value") is None) == (variable.get("secureValue") is None):
                text = f"The variable '{variable['name']}' must have either a value or a secureValue."
                yield "InvalidEnvironmentVariable", text
    for port in (properties.get("ipAddress") or {}).get("ports") or []:
        if port["port"] not in open_ports:
            text = f"The port {port['port']} of the IP address is none of a container of the group '{name}'."
            yield "InvalidPortInIpAddress", text
