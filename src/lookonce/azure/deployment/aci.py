"""Deploy to Azure Container Instances: build an image with the model, start and test it, or roll back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.azure import retry
from lookonce.azure.deployment import containers, image_builds
from lookonce.azure.deployment.prepare import Prepared
from lookonce.azure.deployment.stages import Stages
from lookonce.azure.retry import call
from lookonce.deploy.local import responds
from lookonce.deploy.package.image_context import write_context
from lookonce.errors import LookonceError
from lookonce.serving.client.address import ScoringAddress
from lookonce.serving.client.client import ScoringClient

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_READY_SECONDS, _ASK_SECONDS, _SMOKE_SECONDS = 600.0, 1.0, 120.0
_LOG_LINES = 25
_ENDED = ("CrashLoopBackOff", "Error", "OOMKilled")


@dataclass(frozen=True)
class ContainerSize:
    """Cores and memory of the container, and its DNS label in the region, if any."""

    cpu: float = 1.0
    memory_gb: float = 6.0
    dns_label: str | None = None


def find_build_registry(client: MLClient, service: str) -> image_builds.Registry:
    """Return the registry to build in. Raises LookonceError where it is missing, or the service exists."""
    if containers.find_group(client, service) is not None:
        raise LookonceError(
            f"{service} exists as a container instance, which holds one model. Delete it first: lookonce "
            f"deploy delete {service} --on azure. An online endpoint changes models without downtime."
        )
    return image_builds.registry_of(client)


def deploy(
    client: MLClient,
    service: str,
    ready: Prepared,
    registry: image_builds.Registry,
    key: str,
    size: ContainerSize,
    description: str,
    must_keep: bool,
    folder: Path,
    stages: Stages,
) -> str:
    """Build, start and smoke-test the container, store its key; return the scoring URI.

    Raises LookonceError after deleting what was created. With `must_keep` it also fails where the workspace
    cannot store the key, because it would be lost.
    """
    image, stages.left = "", ""
    try:
        with stages.stage("building the image; this takes minutes", "building the image") as stage:
            digest = write_context(folder / "context", ready.file)
            name = f"lookonce/{service}:{digest}"
            image = image_builds.build(client, registry, folder / "context", name)
            stage.result = f"image {name} built in registry {registry.name}"
        workspace: Any = call(client, lambda: client.workspaces.get(client.workspace_name))
        spec = containers.ContainerSpec(
            service,
            image,
            ready.model,
            key,
            image_builds.pull_credentials(client, registry),
            workspace.location,
            description,
            size.cpu,
            size.memory_gb,
            size.dns_label,
        )
        stages.left = f"the container instance {service}"
        with stages.stage("starting the container", f"starting the container of {service}") as stage:
            address = containers.address(containers.create(client, spec))
            _wait_ready(client, service, address)
            stage.result = f"container of {service} ready"
        with stages.stage("sending an image") as stage:
            scoring = ScoringClient(
                ScoringAddress.parse(address), key, timeout_seconds=_SMOKE_SECONDS, retries=5
            )
            response = scoring.score(ready.image)
            stage.result = f"{service} works: {len(response['boxes'])} objects in {ready.image.name}"
        _store_key(client, service, address, key, must_keep, stages)
    except Exception as error:
        raise LookonceError(_roll_back(client, service, ready.model, image, error, stages)) from error
    stages.left = ""
    return address


def _store_key(
    client: MLClient, service: str, address: str, key: str, must_keep: bool, stages: Stages
) -> None:
    try:
        with stages.stage("storing the key in the workspace") as stage:
            containers.store_key(client, service, address, key)
            stage.result = "key stored in the workspace"
    except LookonceError as error:
        text = f"the workspace cannot store the key: {error}"
        if must_keep:
            raise LookonceError(
                f"{text} Set WEBSERVICE_KEY to a key of yours, or have the key shown."
            ) from error
        stages.say(f"{text} lookonce score needs the key in WEBSERVICE_KEY.")


def _wait_ready(client: MLClient, service: str, address: str) -> None:
    """Wait until the container is ready. Raises LookonceError where it stops, or is not ready in time."""
    until = time.monotonic() + _READY_SECONDS
    while not responds(address.removesuffix("/score") + "/ready"):
        group = containers.find_group(client, service)
        state = containers.state(group) if group is not None else "gone"
        if any(word in state for word in (*_ENDED, "gone")):
            raise LookonceError(f"the container does not stay up: {state}.")
        if time.monotonic() > until:
            raise LookonceError(f"the container was not ready within {_READY_SECONDS:.0f} seconds: {state}.")
        time.sleep(_ASK_SECONDS)


def _roll_back(
    client: MLClient, service: str, model: str, image: str, error: Exception, stages: Stages
) -> str:
    text = f"{service} is not deployed: {retry.failure_sentence(error)}"
    try:
        if containers.find_group(client, service) is not None:
            if lines := containers.last_lines(client, service, _LOG_LINES):
                text += "\nLast lines of its log:\n  " + "\n  ".join(lines)
            with stages.stage(f"deleting {service}", f"deleting {service}") as stage:
                containers.delete(client, service)
                stage.result = f"container of {service} deleted"
    except LookonceError as trouble:
        return (
            f"{text}\nLeft behind, and incurs costs: container {service}, which could not be deleted: "
            f"{trouble} Delete it with: lookonce deploy delete {service} --on azure"
        )
    also = f" and the image {image.partition('/')[2]} in the registry" if image else ""
    return f"{text}\nNothing is left behind except the registered model {model}{also}, which a retry reuses."
