"""The stand-in: management plane, tokens and storage behind one TLS address."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure_stand_in import workspace as place
from azure_stand_in.addresses import Addresses
from azure_stand_in.azurite import Azurite
from azure_stand_in.batch import BatchEndpoints
from azure_stand_in.certificates import Certificates
from azure_stand_in.connections import Connections
from azure_stand_in.containers import Containers
from azure_stand_in.deployments import Deployments
from azure_stand_in.endpoint_images import Images
from azure_stand_in.endpoint_place import Places
from azure_stand_in.faults import Faults
from azure_stand_in.job_service import JobService
from azure_stand_in.management import Management
from azure_stand_in.name_proxy import NameProxy
from azure_stand_in.operations import Operations
from azure_stand_in.registry_builds import Registry
from azure_stand_in.resources import Resources
from azure_stand_in.storage import SUFFIX, Storage
from azure_stand_in.tokens import TENANT, Tokens
from azure_stand_in.wire import Answer, Request, Server
from azure_stand_in.workspace import Workspace

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_WORKSPACE = re.compile(re.escape(place.PATH) + r"(?:/(.*))?$", re.IGNORECASE)
# Variables of `environment` that a job's node needs to reach this cloud.
_TRUST = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")


@dataclass(frozen=True)
class RecordedRequest:
    """A request and its response, with their contents in `sent` and `got`."""

    method: str
    path: str
    query: dict[str, str]
    status: int
    sent: bytes
    got: Any


class StandIn:
    """A workspace for the unmodified SDK. All its files are below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificates = Certificates(folder / "certificates")
        self.azurite = Azurite(folder / "azurite", self.certificates.served)
        self.azurite.start()
        self.storage = Storage(self.azurite, self.certificates.authority)
        self.names = NameProxy({f".blob.{SUFFIX}": self.azurite.blob_port})
        self.tokens = Tokens()
        self.requests: list[RecordedRequest] = []
        self._lock = threading.Lock()
        self._server = Server(self.certificates, self.answer, self._note)
        self.url = self._server.url
        self.resources = Resources(place.PATH)
        self.addresses = Addresses(self.resources)
        self._operations = Operations(self.url, place.SUBSCRIPTION)
        self._workspace = Workspace(self.url, self.resources, self.storage)
        self.management = Management(self.resources, self._operations, self.addresses)
        self._workspace.join(self.management)
        Connections(self.resources).join(self.management)
        self.environment = self._write_environment()
        self.service = JobService(
            folder,
            self.url,
            self.resources,
            self.storage,
            self.addresses,
            self._operations,
            self.tokens,
            {name: self.environment[name] for name in _TRUST},
        )
        self.service.join(self.management)
        self.jobs = self.service.jobs
        self.images = Images()
        places = Places(self.resources, self.storage, self.addresses, self.images)
        self.deployments = Deployments(
            folder / "deployments", self.url, self.resources, self._operations, self.tokens, places
        )
        self.deployments.join(self.management)
        self.batch = BatchEndpoints(self.url, self.resources, self.jobs, self.tokens)
        self.batch.join(self.management)
        self.registry = Registry(folder / "registry", place.GROUP_PATH, "lookonce", self.storage, self.images)
        self.containers = Containers(
            folder / "containers", place.GROUP_PATH, self._operations, self.images, self.registry
        )
        self.faults = Faults(self)

    def close(self) -> None:
        """Stop everything."""
        self.service.close()
        self.deployments.close()
        self.containers.close()
        self._server.close()
        self.names.close()
        self.azurite.stop()

    @property
    def cloud_name(self) -> str:
        """The cloud's name; the SDK caches the addresses of a name for the lifetime of its process."""
        return f"StandIn{self._server.port}"

    def client(self) -> MLClient:
        """Return the SDK's client, signed in with `environment`, which must be set in this process."""
        from azure.ai.ml import MLClient
        from azure.identity import DefaultAzureCredential

        metadata = json.loads(Path(os.environ["LOOKONCE_AZURE_CLOUD"]).read_text())
        name = metadata.pop("name")
        who = DefaultAzureCredential(disable_instance_discovery=True)
        where = (place.SUBSCRIPTION, place.GROUP, place.WORKSPACE)
        cloud: dict[str, Any] = {"cloud": name, "cloud_metadata": metadata}
        # The SDK accepts a cloud's description once per process, and afterwards only its name.
        with contextlib.suppress(AttributeError):
            return MLClient(who, *where, enable_telemetry=False, **cloud)
        return MLClient(who, *where, enable_telemetry=False, cloud=name)

    def requests_to(self, method: str, ending: str) -> list[RecordedRequest]:
        """Return the requests so far with this method and end of their path."""
        return [one for one in self.requests if one.method == method and one.path.endswith(ending)]

    def _write_environment(self) -> dict[str, str]:
        """Write config.json and the cloud's description; return the variables of a process that uses them.

        LOOKONCE_AZURE_CLOUD names a JSON file with `name` and the keys of the SDK's `cloud_metadata`. Host
        names below `core.localhost` are resolved by HTTPS_PROXY. Without the AZURE_CLIENT_… variables, the
        managed identity signs in.
        """
        cloud = {
            "name": self.cloud_name,
            "resource_manager": self.url,
            "active_directory": self.url,
            "azure_portal": "https://portal.azure.localhost/",
            "aml_resource_id": "https://ml.azure.localhost",
            "storage_endpoint": SUFFIX,
            "registry_discovery_endpoint": f"{self.url}/registries",
        }
        names = {
            "subscription_id": place.SUBSCRIPTION,
            "resource_group": place.GROUP,
            "workspace_name": place.WORKSPACE,
        }
        self.config = self.folder / "config.json"
        self.config.write_text(json.dumps(names))
        described = self.folder / "cloud.json"
        described.write_text(json.dumps(cloud))
        authority = str(self.certificates.authority)
        return {
            "LOOKONCE_AZURE_CLOUD": str(described),
            "REQUESTS_CA_BUNDLE": authority,
            "SSL_CERT_FILE": authority,
            "HTTPS_PROXY": self.names.url,
            "https_proxy": self.names.url,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "AZURE_AUTHORITY_HOST": self.url,
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": self.tokens.client_id,
            "AZURE_CLIENT_SECRET": self.tokens.client_secret,
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": self.tokens.identity_header,
            # Disable telemetry.
            "AZURE_CORE_COLLECT_TELEMETRY": "0",
        }

    def _note(self, request: Request, answer: Answer) -> None:
        content = answer.content if not isinstance(answer.content, bytes) else None
        with self._lock:
            self.requests.append(
                RecordedRequest(
                    request.method, request.path, dict(request.query), answer.status, request.body, content
                )
            )

    def answer(self, request: Request) -> Answer:
        """Answer any request to this cloud. Raises ArmError."""
        if (answer := self.faults.answer(request)) is not None:
            return answer
        if (answer := self.tokens.answer(request, self.url)) is not None:
            return answer
        if request.path == "/discovery":
            return Answer(content=self._workspace.discovery())
        if (answer := self.deployments.answer(request)) is not None:
            return answer
        self.tokens.check(request)
        if (answer := self._operations.answer(request.path)) is not None:
            return answer
        for part in (self.batch, self.service, self.registry, self.containers):
            if (answer := part.answer(request)) is not None:
                return answer
        found = _WORKSPACE.match(request.path.rstrip("/"))
        if found is None:
            raise place.elsewhere(request.path)
        if not found[1]:
            return Answer(content=self._workspace.description())
        return self.management.answer(found[1], request)
