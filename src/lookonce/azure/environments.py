"""Environments of training jobs and deployments: an image, and pinned packages for conda."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.retry import call
from lookonce.deploy.package.image_context import write_context
from lookonce.deploy.package.lock import locked

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Environment

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
# A job reads and writes mounted folders; of the workspace it uses MLflow only.
_NOT_THERE = ("azure-ai-ml", "azure-mgmt-containerinstance", "azure-mgmt-containerregistry", "adlfs")
# Packages whose builds for NVIDIA's GPUs have another name.
_ON_GPU = {
    "tensorflow-cpu": "tensorflow[and-cuda]",
    "tensorflow": "tensorflow[and-cuda]",
    "jax": "jax[cuda12]",
}


def training_conda(backend: str, gpu: bool) -> dict[str, Any]:
    """Return conda's specification for a job: this Python, and lookonce's dependencies as installed here."""
    packages = locked(("azure", backend), _NOT_THERE)
    if gpu:
        split = (package.split("==") for package in packages)
        packages = [f"{_ON_GPU.get(name.replace('_', '-'), name)}=={version}" for name, version in split]
    python = f"python={sys.version_info.major}.{sys.version_info.minor}"
    return {
        "name": "lookonce",
        "channels": ["conda-forge"],
        "dependencies": [python, "pip", {"pip": packages}],
    }


def ensure_training_environment(
    client: MLClient, backend: str, gpu: bool, image: str = IMAGE
) -> tuple[str, int]:
    """Return a job's environment as `name:version`, and its number of packages; register a missing one."""
    from azure.ai.ml.entities import Environment

    content = training_conda(backend, gpu)
    name = f"lookonce-{backend}-{'gpu' if gpu else 'cpu'}"
    version = hashlib.sha256(json.dumps([content, image]).encode()).hexdigest()[:12]
    count = len(content["dependencies"][-1]["pip"])
    try:
        call(client, lambda: client.environments.get(name, version))
    except ResourceNotFoundError:
        environment = Environment(name=name, version=version, image=image, conda_file=content)
        call(client, lambda: client.environments.create_or_update(environment))
    return f"{name}:{version}", count


# It brings another web server, with its own pins.
SERVER = "azureml-inference-server-http==1.5.1"
# The entry script does not use these; the local check runs without them.
UNUSED = ("fastapi", "uvicorn", "matplotlib", "pycocotools", "rich")
# Azure's driver of batch deployments; it needs other versions of two packages than run here.
_DRIVER = ("azureml-core==1.61.0.post4", "azureml-dataset-runtime[fuse]==1.62.0.post1")
_DRIVERS_OWN = ("numpy", "packaging")
PORT = 8080
ROUTES: Mapping[str, Mapping[str, Any]] = {
    "liveness_route": {"port": PORT, "path": "/health"},
    "readiness_route": {"port": PORT, "path": "/ready"},
    "scoring_route": {"port": PORT, "path": "/score"},
}


@dataclass(frozen=True)
class ServingMode:
    """The way a deployment serves: an entry script in Azure's inference server, or an image.

    Args:
        script: name of the entry script in the code snapshot; None for an image that serves by itself.
        image: an existing image that serves ROUTES; None for Azure's own image, or one built from this
            package.
        variables: environment variables of the container.
    """

    script: str | None = None
    image: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


def ensure_serving_environment(client: MLClient, mode: ServingMode, batch: bool = False) -> str:
    """Return a deployment's environment as `name:version`; register a missing one. Raises LookonceError."""
    from azure.ai.ml.entities import BuildContext, Environment

    if mode.script is not None:
        packages = serving_conda(batch)
        name = "lookonce-batch" if batch else "lookonce-score"
        return _ensure(client, Environment(name=name, image=IMAGE, conda_file=packages), packages)
    if mode.image is not None:
        named = Environment(name="lookonce-image", image=mode.image, inference_config=ROUTES)
        return _ensure(client, named, mode.image)
    with tempfile.TemporaryDirectory(prefix="lookonce-") as folder:
        # The endpoint in front of the container checks the key.
        digest = write_context(Path(folder), None, ("--insecure",))
        built = Environment(name="lookonce-serve", build=BuildContext(path=folder), inference_config=ROUTES)
        return _ensure(client, built, digest)


def serving_conda(batch: bool) -> dict[str, Any]:
    """Return conda's specification for the entry script: this Python, and the versions installed here."""
    left_out = (*UNUSED, *_DRIVERS_OWN) if batch else UNUSED
    packages = [*locked((), left_out), *(_DRIVER if batch else (SERVER,))]
    python = f"python={sys.version_info.major}.{sys.version_info.minor}"
    return {
        "name": "lookonce",
        "channels": ["conda-forge"],
        "dependencies": [python, "pip", {"pip": packages}],
    }


def _ensure(client: MLClient, environment: Environment, content: Any) -> str:
    """Register the environment under a version that is a digest of its content, so that a build is reused."""
    text = json.dumps([content, str(environment.image), ROUTES], sort_keys=True)
    environment.version = hashlib.sha256(text.encode()).hexdigest()[:12]
    try:
        call(client, lambda: client.environments.get(environment.name, environment.version))
    except ResourceNotFoundError:
        call(client, lambda: client.environments.create_or_update(environment))
    return f"{environment.name}:{environment.version}"
