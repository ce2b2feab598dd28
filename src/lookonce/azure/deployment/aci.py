"""`lookonce deploy aci`: an image with the model, built in the workspace's registry, run, asked, undone."""

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
from lookonce.deploy.local import answers
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
    """Of the container, and its name in the region, if any."""

    cpu: float = 1.0
    memory_gb: float = 6.0
    dns_label: str | None = None


def find_build_registry(client: MLClient, service: str) -> image_builds.Registry:
    """The registry to build in. Raises LookonceError when there is none, or a service of that name."""
    if containers.find_group(client, service) is not None:
        raise LookonceError(
            f"{service} runs already as a container instance, which can't have two models. Delete it first: "
            f"lookonce deploy delete {service} --on azure. Or deploy online, which changes models without a "
            "gap."
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
    """Do it; the address. Raises LookonceError with what was made taken away again, or named.

    `must_keep`: it fails where the workspace can't keep the key, for nobody else has it.
    """
    image, stages.left = "", ""
    try:
        with stages.stage("building the image; this takes minutes", "building the image") as stage:
            digest = write_context(folder / "context", ready.file)
            name = f"lookonce/{service}:{digest}"
            image = image_builds.build(client, registry, folder / "context", name)
            stage.result = f"image {name} is in the registry {registry.name}"
        workspace: Any = call(client, lambda: client.workspaces.get(client.workspace_name))
        wanted = containers.ContainerSpec(
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
            address = containers.address(containers.make(client, wanted))
            _wait_ready(client, service, address)
            stage.result = f"the container of {service} is ready"
        with stages.stage("asking it about an image") as stage:
            asking = ScoringClient(
                ScoringAddress.parse(address), key, timeout_seconds=_SMOKE_SECONDS, retries=5
            )
            answer = asking.score(ready.image)
            stage.result = f"it answers: {len(answer['boxes'])} found in {ready.image.name}"
        _keep_key(client, service, address, key, must_keep, stages)
    except Exception as error:
        raise LookonceError(_undone(client, service, ready.model, image, error, stages)) from error
    stages.left = ""
    return address


def _keep_key(
    client: MLClient, service: str, address: str, key: str, must_keep: bool, stages: Stages
) -> None:
    try:
        with stages.stage("keeping the key in the workspace") as stage:
            containers.keep_key(client, service, address, key)
            stage.result = "the key is kept in the workspace"
    except LookonceError as error:
        text = f"the workspace can't keep the key: {error}"
        if must_keep:
            raise LookonceError(f"{text} Give one in WEBSERVICE_KEY, or say --show-key.") from error
        stages.say(f"{text} lookonce score needs it in WEBSERVICE_KEY.")


def _wait_ready(client: MLClient, service: str, address: str) -> None:
    """Raises LookonceError when the container ends, or isn't ready in time."""
    until = time.monotonic() + _READY_SECONDS
    while not answers(address.removesuffix("/score") + "/ready"):
        group = containers.find_group(client, service)
        state = containers.state(group) if group is not None else "gone"
        if any(word in state for word in (*_ENDED, "gone")):
            raise LookonceError(f"the container doesn't stay up: {state}.")
        if time.monotonic() > until:
            raise LookonceError(f"the container wasn't ready within {_READY_SECONDS:.0f} seconds: {state}.")
        time.sleep(_ASK_SECONDS)


def _undone(client: MLClient, service: str, model: str, image: str, error: Exception, stages: Stages) -> str:
    text = f"{service} isn't deployed: {retry.failure_sentence(error)}"
    try:
        if containers.find_group(client, service) is not None:
            if lines := containers.last_lines(client, service, _LOG_LINES):
                text += "\nThe last lines of its log:\n  " + "\n  ".join(lines)
            with stages.stage(f"deleting {service}", f"deleting {service}") as stage:
                containers.delete(client, service)
                stage.result = f"the container of {service} is deleted again"
    except LookonceError as trouble:
        return (
            f"{text}\nWhat stays behind, and costs: the container instance {service}, for it can't be "
            f"deleted: {trouble} Try: lookonce deploy delete {service} --on azure"
        )
    also = f" and the image {image.partition('/')[2]} in the registry" if image else ""
    return f"{text}\nNothing stays behind but the registered model {model}{also}, for the next attempt."
