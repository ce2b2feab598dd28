"""Build an image in the workspace's container registry; no local Docker is needed."""

from __future__ import annotations

import re
import tarfile
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.azure.blobs import last_lines_of_blob
from lookonce.azure.retry import call
from lookonce.azure.session import credential, management_scope
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.mgmt.containerregistry import ContainerRegistryManagementClient

# Later versions of the interface have no builds.
_BUILDS = "2019-06-01-preview"
_REGISTRY = re.compile(r"/resourceGroups/([^/]+)/.*/registries/([^/]+)$", re.IGNORECASE)
_MOST_SECONDS = 3600
_POLL_SECONDS = 2.0
_WAITING = ("Queued", "Started", "Running")
_LOG_LINES = 25


@dataclass(frozen=True)
class Registry:
    """The workspace's container registry: name, resource group, and the server to pull images from."""

    name: str
    group: str
    server: str


def management(client: MLClient) -> dict[str, Any]:
    """Return the arguments of a client of Azure's management plane."""
    scope = management_scope()
    return {
        "credential": credential(),
        "subscription_id": client.subscription_id,
        "base_url": scope.removesuffix("/.default"),
        "credential_scopes": [scope],
    }


def registry_of(client: MLClient) -> Registry:
    """Return the workspace's registry. Raises LookonceError where it has none."""
    workspace: Any = call(client, lambda: client.workspaces.get(client.workspace_name))
    found = _REGISTRY.search(str(workspace.container_registry or ""))
    if found is None:
        raise LookonceError(
            f"workspace {client.workspace_name} has no container registry to build the image in. Create one: "
            "az acr create --sku Basic --admin-enabled true, then az ml workspace update "
            "--container-registry."
        )
    group, name = found[1], found[2]
    described: Any = call(client, lambda: _registries(client).registries.get(group, name))
    return Registry(name, group, described.login_server)


def pull_credentials(client: MLClient, registry: Registry) -> tuple[str, str]:
    """Return user and password for pulling images. Raises LookonceError."""
    try:
        found: Any = call(
            client, lambda: _registries(client).registries.list_credentials(registry.group, registry.name)
        )
        return str(found.username), str(found.passwords[0].value)
    except LookonceError as error:
        raise LookonceError(
            f"registry {registry.name} returns no password for pulling the image: {error} Enable it: az "
            f"acr update --name {registry.name} --admin-enabled true"
        ) from error


def build(client: MLClient, registry: Registry, context: Path, image: str) -> str:
    """Build the folder `context` as `image` (repository:tag); return the full name.

    Raises LookonceError with the last lines of the build's log.
    """
    from azure.mgmt.containerregistry.v2019_06_01_preview.models import (
        DockerBuildRequest,
        PlatformProperties,
    )

    builds = _registries(client, _BUILDS)
    request = DockerBuildRequest(
        docker_file_path="Dockerfile",
        image_names=[image],
        source_location=_upload(client, builds, registry, context),
        platform=PlatformProperties(os="Linux", architecture="amd64"),
        is_push_enabled=True,
        timeout=_MOST_SECONDS,
    )
    where = (registry.group, registry.name)
    run: Any = call(client, lambda: builds.registries.begin_schedule_run(*where, request).result())
    until = time.monotonic() + _MOST_SECONDS
    while run.status in _WAITING and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
        run = call(client, partial(builds.runs.get, *where, run.run_id))
    if run.status != "Succeeded":
        lines = "\n  ".join(_log(client, builds, registry, run.run_id)) or "(no log)"
        raise LookonceError(
            f"image build {run.run_id} in registry {registry.name} ended as {run.status}. Last lines of its "
            f"log:\n  {lines}"
        )
    return f"{registry.server}/{image}"


def _registries(client: MLClient, version: str | None = None) -> ContainerRegistryManagementClient:
    try:
        from azure.mgmt.containerregistry import ContainerRegistryManagementClient
    except ImportError as error:
        raise LookonceError(
            "azure-mgmt-containerregistry is not installed. Install it with: pip install 'lookonce[azure]'"
        ) from error
    options = management(client) | ({"api_version": version} if version else {})
    return ContainerRegistryManagementClient(**options)


def _upload(client: MLClient, builds: Any, registry: Registry, context: Path) -> str:
    from azure.storage.blob import BlobClient

    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(context, arcname=".")
        place: Any = call(
            client, lambda: builds.registries.get_build_source_upload_url(registry.group, registry.name)
        )

        def send() -> None:
            packed.seek(0)
            BlobClient.from_blob_url(place.upload_url).upload_blob(packed, overwrite=True)

        call(client, send)
    return str(place.relative_path)


def _log(client: MLClient, builds: Any, registry: Registry, run: str) -> list[str]:
    from azure.storage.blob import BlobClient

    def read() -> list[str]:
        link = builds.runs.get_log_sas_url(registry.group, registry.name, run).log_link
        with BlobClient.from_blob_url(link) as blob:
            return last_lines_of_blob(blob, _LOG_LINES)

    try:
        return call(client, read)
    except LookonceError:
        return []
