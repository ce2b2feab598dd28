"""Collect what a deployment's container needs: model and code from storage, image, variables."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from azure_stand_in.addresses import Addresses
from azure_stand_in.endpoint_images import BuildError, Image, Images, here
from azure_stand_in.endpoint_process import Command
from azure_stand_in.resources import Resource, Resources
from azure_stand_in.storage import Storage
from azure_stand_in.wire import ArmError

# It needs other package versions, and has a virtual environment of its own (see the Makefile).
INFERENCE_SERVER = Path(sys.prefix) / "azure-server" / "bin" / "azmlinfsrv"
_MOUNT = "/var/azureml-app"
_INFERENCE_PORT = 5001


class DeploymentError(ArmError):
    """The error of a failed deployment: without code, with the code's word in the message."""

    def __init__(self, word: str, text: str) -> None:
        super().__init__(400, word, f"{word}: {text}")

    def body(self) -> dict[str, Any]:
        """Return the error's body; the service omits the outer code."""
        return {"error": {"code": None, "message": self.message, "details": [], "additionalInfo": []}}


class Places:
    """Fill folders for deployments from the workspace and its storage."""

    def __init__(self, resources: Resources, storage: Storage, addresses: Addresses, images: Images) -> None:
        self._resources, self._storage = resources, storage
        self._addresses, self._images = addresses, images

    def fill(self, deployment: Resource, folder: Path) -> Command:
        """Download what the deployment names to `folder`; return the command to run. Raises ArmError."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        properties = deployment["properties"]
        environment = self._environment(properties)
        places: dict[str, Path] = {}
        variables = dict(properties.get("environmentVariables") or {})
        if properties.get("model"):
            mounted = str(properties.get("modelMountPath") or _MOUNT).rstrip("/")
            places[mounted] = folder / "mounted"
            inside = self.fetch_model(properties["model"], places[mounted])
            variables = {"AZUREML_MODEL_DIR": f"{mounted}/{inside}", **variables}
        if properties.get("codeConfiguration"):
            return self._script(properties["codeConfiguration"], environment, variables, places, folder)
        return self._image(environment, variables, places, folder)

    def fetch_model(self, model: str, below: Path) -> str:
        """Download a model's files below `below` in the service's layout; return the path of its folder."""
        found = self._resources.get(id_of(model))
        container, path = self._addresses.place(found["properties"]["modelUri"])
        parts = found["id"].split("/")
        inside = f"azureml-models/{parts[-3]}/{parts[-1]}"
        names = self._storage.names(container, path)
        if not names:
            raise DeploymentError(
                "BadArgument", f"Unable to download the user model {model}: there is nothing."
            )
        # A model folder keeps its name below the version's folder; a model file is in the latter.
        whole = below / inside / (Path(path).name if names != [path] else "")
        self._storage.fetch(container, path, whole)
        return inside

    def scoring_path(self, deployment: Resource) -> str:
        """Return the scoring path of the container."""
        if deployment["properties"].get("codeConfiguration"):
            return "/score"
        routes = self._environment(deployment["properties"]).get("inferenceConfig") or {}
        return str((routes.get("scoringRoute") or {}).get("path", "/score"))

    def _environment(self, properties: Resource) -> dict[str, Any]:
        if not properties.get("environmentId"):
            raise DeploymentError("BadArgument", "A deployment of a custom model needs an environment.")
        found: dict[str, Any] = self._resources.get(id_of(properties["environmentId"]))["properties"]
        return found

    def _script(
        self,
        code: dict[str, Any],
        environment: dict[str, Any],
        variables: dict[str, str],
        places: dict[str, Path],
        folder: Path,
    ) -> Command:
        """Return the command that runs the entry script in Azure's inference server."""
        if not code.get("codeId"):
            raise DeploymentError("BadArgument", "codeConfiguration has no codeId.")
        place = folder / "code"
        self._storage.fetch(*self._addresses.place(code["codeId"]), place)
        server = re.compile(r"azureml-inference-server-http|azureml-defaults")
        if not server.search(environment.get("condaFile") or "") and "inference" not in (
            environment.get("image") or ""
        ):
            text = "A required package azureml-inference-server-http is missing from the environment."
            return _failing(text, folder)
        script = place / code["scoringScript"]
        return Command(
            [str(INFERENCE_SERVER), "--entry_script", str(script), "--port", "{port}"],
            # The deployment's code comes first: in Azure no other lookonce is installed.
            _here(
                {"AZUREML_ENTRY_SCRIPT": code["scoringScript"], "PYTHONPATH": str(place), **variables}, places
            ),
            place,
            _INFERENCE_PORT,
            "/",
            "/",
            _INFERENCE_PORT,
        )

    def _image(
        self, environment: dict[str, Any], variables: dict[str, str], places: dict[str, Path], folder: Path
    ) -> Command:
        """Return the command of an image with the routes of its environment."""
        routes = environment.get("inferenceConfig")
        if not routes:
            text = "A deployment without codeConfiguration needs an environment with inferenceConfig."
            raise DeploymentError("BadArgument", text)
        image = self._images.find(environment["image"]) if environment.get("image") else None
        if environment.get("build"):
            image = self._build(environment["build"], folder)
        if image is None:
            text = f"Unable to download user container image {environment.get('image')}."
            raise DeploymentError("BadArgument", text)
        ready = (
            routes.get("readinessRoute") or routes.get("livenessRoute") or {"path": "/", "port": image.port}
        )
        live = routes.get("livenessRoute") or ready
        return Command(
            image.words(places),
            image.surroundings(variables, places),
            folder,
            image.port,
            ready["path"],
            live["path"],
            ready["port"],
        )

    def _build(self, build: dict[str, Any], folder: Path) -> Image:
        self._storage.fetch(*self._addresses.place(build["contextUri"]), folder / "context")
        try:
            dockerfile = build.get("dockerfilePath") or "Dockerfile"
            return self._images.build(folder / "context", dockerfile, folder / "files")
        except BuildError as failure:
            raise DeploymentError("ImageBuildFailure", f"Image build failed. {failure}") from failure


def _failing(text: str, folder: Path) -> Command:
    """Return the command of a container that prints an error and exits."""
    return Command(["sh", "-c", 'echo "$1"; exit 1', "sh", text], {}, folder, 0, "/", "/", 0)


def _here(variables: dict[str, str], places: dict[str, Path]) -> dict[str, str]:
    return dict(zip(variables, here(variables.values(), places), strict=True))


def id_of(given: str) -> str:
    """Return an asset's id from a deployment's reference to it."""
    return given.removeprefix("azureml:")
