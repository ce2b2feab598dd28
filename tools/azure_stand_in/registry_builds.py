"""The workspace's container registry, which builds images from an uploaded context."""

from __future__ import annotations

import io
import re
import secrets
import tarfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from azure.mgmt.containerregistry.v2019_06_01_preview import models

from azure_stand_in import arm_schema
from azure_stand_in.endpoint_images import BuildError, Images
from azure_stand_in.operations import LOCATION
from azure_stand_in.resources import Resource, now
from azure_stand_in.storage import Storage
from azure_stand_in.wire import Answer, ArmError, Request

PROVIDER = "Microsoft.ContainerRegistry"
_SOURCES, _LOGS = "acr-sources", "acr-logs"
_MOST_BYTES = 2**30


class Registry:
    """A registry below `group`, a resource group's path.

    `at_build` is called with a run's id before the build, and may raise BuildError; `admin` says whether the
    registry's user and password are enabled.
    """

    def __init__(self, folder: Path, group: str, name: str, storage: Storage, images: Images) -> None:
        self._folder, self._storage, self._images = folder, storage, images
        self.path = f"{group}/providers/{PROVIDER}/registries/{name}"
        self.name, self.server = name, f"{name}.azurecr.localhost"
        self.passwords = [secrets.token_urlsafe(24), secrets.token_urlsafe(24)]
        self.admin = True
        self.at_build: Callable[[str], None] = lambda run: None
        self._runs: dict[str, dict[str, Any]] = {}
        self._below = re.compile(re.escape(self.path) + r"(?:/(.*))?$", re.IGNORECASE)
        images.registries.add(self.server)

    def answer(self, request: Request) -> Answer | None:
        """Answer requests to the registry; return None for others."""
        found = self._below.match(request.path.rstrip("/"))
        if found is None:
            return None
        route = (request.method, found[1] or "")
        if route == ("GET", ""):
            return Answer(content=self.description())
        if route == ("POST", "listCredentials"):
            return Answer(content=self._credentials())
        if route == ("POST", "listBuildSourceUploadUrl"):
            return Answer(content=self._upload_place())
        if route == ("POST", "scheduleRun"):
            return Answer(content=self._schedule(request.json()))
        if route == ("GET", "runs"):
            return Answer(content={"value": [self._described(name) for name in reversed(list(self._runs))]})
        _, _, rest = route[1].partition("runs/")
        name, _, action = rest.partition("/")
        if name in self._runs and (request.method, action) == ("GET", ""):
            return Answer(content=self._described(name))
        if name in self._runs and (request.method, action) == ("POST", "listLogSasUrl"):
            signed = self._storage.container_signature(_LOGS)
            return Answer(content={"logLink": f"{self._storage.url}/{_LOGS}/{name}.log?{signed}"})
        text = f"The resource {found[1]} was not found in the registry {self.name}."
        raise ArmError(404, "ResourceNotFound", text)

    def description(self) -> Resource:
        """Return the registry as a resource."""
        return {
            "id": self.path,
            "name": self.name,
            "type": f"{PROVIDER}/registries",
            "location": LOCATION,
            "tags": {},
            "sku": {"name": "Basic", "tier": "Basic"},
            "properties": {
                "loginServer": self.server,
                "creationDate": "2026-01-01T00:00:00.0000000Z",
                "provisioningState": "Succeeded",
                "adminUserEnabled": self.admin,
            },
        }

    def opens(self, username: str | None, password: str | None) -> bool:
        """Return whether these credentials are valid."""
        return self.admin and username == self.name and password in self.passwords

    def _credentials(self) -> dict[str, Any]:
        if not self.admin:
            text = f"The admin user is disabled for the registry {self.name}."
            raise ArmError(400, "UnAuthorizedForCredentialOperations", text)
        pairs = zip(("password", "password2"), self.passwords, strict=True)
        return {"username": self.name, "passwords": [{"name": name, "value": one} for name, one in pairs]}

    def _upload_place(self) -> dict[str, str]:
        path = f"source/{time.strftime('%Y%m%d')}/{secrets.token_hex(16)}.tar.gz"
        self._storage.container(_SOURCES)
        signed = self._storage.container_signature(_SOURCES)
        return {"uploadUrl": f"{self._storage.url}/{_SOURCES}/{path}?{signed}", "relativePath": path}

    def _schedule(self, body: Any) -> Resource:
        arm_schema.check(body, models, "RunRequest")
        if body["type"] != "DockerBuildRequest":
            raise ArmError(400, "OperationNotAllowed", f"Runs of the type {body['type']} are not known here.")
        if body["platform"]["os"].lower() != "linux":
            raise ArmError(400, "OperationNotAllowed", "Only Linux is built here.")
        source = body.get("sourceLocation") or ""
        if source not in self._storage.names(_SOURCES, source):
            raise ArmError(400, "InvalidSourceLocation", f"There is no source at '{source}'.")
        name = f"ca{len(self._runs) + 1}"
        self._runs[name] = {
            "runId": name,
            "status": "Queued",
            "runType": "QuickBuild",
            "createTime": now(),
            "lastUpdatedTime": now(),
            "platform": {"os": "linux", "architecture": "amd64", **body["platform"]},
            "provisioningState": "Succeeded",
            "isArchiveEnabled": False,
            "outputImages": [],
        }
        threading.Thread(target=self._run, args=(name, body), daemon=True, name=f"build-{name}").start()
        return self._described(name)

    def _described(self, name: str) -> Resource:
        path = f"{self.path}/runs/{name}"
        return {
            "id": path,
            "name": name,
            "type": f"{PROVIDER}/registries/runs",
            "properties": self._runs[name],
        }

    def _run(self, name: str, body: dict[str, Any]) -> None:
        said: list[str] = []

        def tell(line: str, complete: str = "") -> None:
            said.append(line)
            text = "\n".join(said) + "\n"
            # Clients that follow the log detect its end by this.
            known = {"Complete": complete} if complete else None
            client = self._storage.container(_LOGS)
            client.upload_blob(f"{name}.log", text.encode(), overwrite=True, metadata=known)

        self._set(name, status="Running", startTime=now())
        try:
            tell("Downloading source code...")
            self.at_build(name)
            made = self._build(name, body, tell)
            tell(f"Run ID: {name} was successful", "successful")
            self._set(name, outputImages=made, status="Succeeded", finishTime=now())
        except BuildError as error:
            tell(
                f"{error}\nRun ID: {name} failed with error: failed to run step ID: build: exit status 1",
                "failed",
            )
            self._set(name, status="Failed", finishTime=now(), runErrorMessage="failed to run step ID: build")
        except Exception as error:
            traceback.print_exc()
            tell(f"{type(error).__name__}: {error}", "failed")
            self._set(name, status="Error", finishTime=now(), runErrorMessage=str(error))

    def _build(self, name: str, body: dict[str, Any], tell: Callable[[str], None]) -> list[dict[str, str]]:
        """Unpack and check the context, and add the image under its names."""
        context, files = self._folder / name / "context", self._folder / name / "files"
        packed = self._storage.read(_SOURCES, body["sourceLocation"])
        try:
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                if sum(one.size for one in archive.getmembers()) > _MOST_BYTES:
                    raise BuildError("the context is too big")
                archive.extractall(context, filter="data")
        except (tarfile.TarError, OSError) as error:
            raise BuildError(f"failed to unpack the source: {error}") from error
        arguments = {one["name"]: one["value"] for one in body.get("arguments") or []}
        image = self._images.build(context, body["dockerFilePath"], files, arguments)
        tell("Successfully built the image")
        made = []
        for wanted in body.get("imageNames") or []:
            repository, _, tag = wanted.removeprefix(f"{self.server}/").partition(":")
            if not re.fullmatch(r"[a-z0-9]+([._/-][a-z0-9]+)*", repository):
                raise BuildError(f'invalid argument "{wanted}": invalid reference format')
            if body.get("isPushEnabled", True):
                self._images.add(f"{self.server}/{repository}:{tag or 'latest'}", image)
                tell(f"Successfully pushed image: {self.server}/{repository}:{tag or 'latest'}")
                digest = f"sha256:{secrets.token_hex(32)}"
                made.append({"registry": self.server, "repository": repository, "tag": tag or "latest"})
                made[-1]["digest"] = digest
        return made

    def _set(self, name: str, **properties: Any) -> None:
        self._runs[name] = {**self._runs[name], **properties, "lastUpdatedTime": now()}
