"""The surroundings of a training job: an image, and exactly the packages that run here."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.ask import ask
from lookonce.deploy.package.lock import locked

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
# The job reads and writes mounted folders; it asks the workspace for nothing but its MLflow.
_NOT_THERE = ("azure-ai-ml", "azure-mgmt-containerinstance", "azure-mgmt-containerregistry", "adlfs")
# Packages whose builds for NVIDIA's GPUs have another name here.
_ON_GPU = {
    "tensorflow-cpu": "tensorflow[and-cuda]",
    "tensorflow": "tensorflow[and-cuda]",
    "jax": "jax[cuda12]",
}


def conda(backend: str, gpu: bool) -> dict[str, Any]:
    """What conda installs: this Python, and lookonce's packages in their versions here."""
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


def ensure_environment(client: MLClient, backend: str, gpu: bool, image: str = IMAGE) -> tuple[str, int]:
    """`name:version` of the environment, made if it isn't there, and how many packages it pins."""
    from azure.ai.ml.entities import Environment

    content = conda(backend, gpu)
    name = f"lookonce-{backend}-{'gpu' if gpu else 'cpu'}"
    version = hashlib.sha256(json.dumps([content, image]).encode()).hexdigest()[:12]
    count = len(content["dependencies"][-1]["pip"])
    try:
        ask(client, lambda: client.environments.get(name, version))
    except ResourceNotFoundError:
        wanted = Environment(name=name, version=version, image=image, conda_file=content)
        ask(client, lambda: client.environments.create_or_update(wanted))
    return f"{name}:{version}", count
