"""Azure Container Instances: groups whose images run on this machine, each on an open port."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from azure.mgmt.containerinstance import models

from azure_stand_in import arm_schema
from azure_stand_in.container_group import PROVIDER, Group, check_change, check_group
from azure_stand_in.endpoint_images import Images
from azure_stand_in.operations import Operations
from azure_stand_in.registry_builds import Registry
from azure_stand_in.resources import Resource
from azure_stand_in.wire import Answer, ArmError, Request


class Containers:
    """The container groups of the resource group with the path `group`."""

    def __init__(
        self, folder: Path, group: str, operations: Operations, images: Images, registry: Registry
    ) -> None:
        self._folder, self._operations = folder, operations
        self._images, self._registry = images, registry
        self.path = f"{group}/providers/{PROVIDER}/containerGroups"
        subscription = group.partition("/resourceGroups/")[0]
        self._everywhere = f"{subscription}/providers/{PROVIDER}/containerGroups".lower()
        self._below = re.compile(
            re.escape(self.path) + r"(?:/([^/]+)(?:/containers/([^/]+)/logs|/(\w+))?)?$", re.IGNORECASE
        )
        self.groups: dict[str, Group] = {}
        self._lock = threading.Lock()
        self._count = 0

    def answer(self, request: Request) -> Answer | None:
        """Answer requests about container groups; return None for others."""
        path = request.path.rstrip("/")
        found = self._below.match(path)
        if found is None and path.lower() != self._everywhere:
            return None
        if found is None or not found[1]:
            return Answer(content={"value": [one.description() for one in self.groups.values()]})
        name, container, action = found[1], found[2], found[3]
        if request.method == "PUT" and not container and not action:
            return self._put(name, request.json())
        group = self.groups.get(name.lower())
        if group is None:
            if request.method == "DELETE":
                return Answer(204)
            text = f"The Resource '{PROVIDER}/containerGroups/{name}' under resource group was not found."
            raise ArmError(404, "ResourceNotFound", text)
        if container:
            return Answer(content={"content": group.logs(container, request.query.get("tail"))})
        if action:
            return self._act(group, action)
        if request.method == "DELETE":
            return self._delete(group)
        if request.method == "PATCH":
            arm_schema.check(request.json(), models, "Resource")
            group.body = {**group.body, "tags": request.json().get("tags", {})}
        return Answer(content=group.description())

    def close(self) -> None:
        """Stop every group."""
        for group in list(self.groups.values()):
            group.stop()

    def _put(self, name: str, body: Resource) -> Answer:
        arm_schema.check(body, models, "ContainerGroup")
        check_group(name, body)
        before = self.groups.get(name.lower())
        if before is not None:
            check_change(name, before.body, body)
        images = {}
        for one in body["properties"]["containers"]:
            reference = one["properties"]["image"]
            image = self._images.find(reference) if self._may_pull(reference, body) else None
            if image is None:
                text = (
                    f"The image '{reference}' in container group '{name}' is not accessible. "
                    "Please check the image and registry credential."
                )
                raise ArmError(400, "InaccessibleImage", text)
            images[one["name"]] = image
        with self._lock:
            self._count += 1
            folder = self._folder / f"{name}-{self._count}"
        group = Group(f"{self.path}/{name}", name, body, images, folder)
        self.groups[name.lower()] = group

        def start() -> None:
            if before is not None:
                before.stop()
            group.start()

        headers = self._operations.begin(start)
        return Answer(200 if before else 201, group.description(), headers)

    def _may_pull(self, reference: str, body: Resource) -> bool:
        if reference.partition("/")[0] != self._registry.server:
            return True
        given = body["properties"].get("imageRegistryCredentials") or []
        mine = [one for one in given if one["server"] == self._registry.server]
        return any(self._registry.opens(one.get("username"), one.get("password")) for one in mine)

    def _act(self, group: Group, action: str) -> Answer:
        if action == "stop":
            group.stop()
            return Answer(204)
        if action not in ("start", "restart"):
            raise ArmError(404, "ResourceNotFound", f"Container groups have no action {action}.")

        def again() -> None:
            group.stop()
            group.start()

        return Answer(202, headers=self._operations.begin(again))

    def _delete(self, group: Group) -> Answer:
        described = group.description()

        def end() -> None:
            group.stop()
            self.groups.pop(group.name.lower(), None)

        headers = self._operations.begin(end)
        return Answer(202, described, headers)
