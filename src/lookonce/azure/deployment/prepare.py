"""Prepare a deployment: the model as ONNX, the code, a local check, registration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lookonce.azure.deployment import local_check
from lookonce.azure.deployment.local_check import CheckResult, EntryCheck
from lookonce.azure.deployment.stages import Stages
from lookonce.azure.environments import UNUSED, ServingMode, ensure_serving_environment
from lookonce.azure.registry import AzureRegistry
from lookonce.deploy.package.snapshot import write_snapshot
from lookonce.errors import LookonceError
from lookonce.models.cards import read_card
from lookonce.models.registry import Registered, find, model_name
from lookonce.serving.protocols.azure import __file__ as entry_scripts

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_FILES = (".onnx", ".keras")


@dataclass(frozen=True)
class Deployable:
    """An ONNX model on this disk, and its name.

    Args:
        file: the .onnx file.
        name: its name in the registry.
        registered: its version in the registry, if it has one.
        source: what it was made from, for people.
    """

    file: Path
    name: str
    registered: Registered | None
    source: str


def fetch(client: MLClient, given: str, service: str, folder: Path) -> Deployable:
    """Return the ONNX model for `given`: a file, or NAME[:VERSION|:ALIAS] of the registry; register nothing.

    Downloads and exports go to `folder`. A file gets the name of the service. Raises LookonceError.
    """
    path = Path(given)
    if path.suffix.lower() in _FILES or path.exists():
        if not path.is_file():
            raise LookonceError(f"{given}: no such file. Give a .onnx or .keras model.")
        return Deployable(_as_onnx(path, folder), model_name(service)[0], None, given)
    registry = AzureRegistry(client)
    version = find(registry, given)
    shown = f"{version.name}:{version.version}"
    file = registry.download(version, folder / "registered")
    if file.suffix.lower() == ".onnx":
        return Deployable(file, version.name, version, shown)
    return Deployable(_as_onnx(file, folder), f"{version.name}-onnx", None, shown)


def register(client: MLClient, model: Deployable) -> Registered:
    """Register the model, unless its content is registered; return its version. Raises LookonceError."""
    if model.registered is not None:
        return model.registered
    tags = {"source": model.source}
    if card := read_card(model.file):
        tags |= {"classes": ", ".join(card.classes), "input": f"{card.input_size[1]}x{card.input_size[0]}"}
    return AzureRegistry(client).register(model.file, model.name, tags, None)


def _as_onnx(file: Path, folder: Path) -> Path:
    """Export to ONNX: the service needs no Keras, starts sooner, and its image is a gigabyte smaller."""
    if file.suffix.lower() == ".onnx":
        return file
    if file.suffix.lower() != ".keras":
        raise LookonceError(f"{file}: neither .onnx nor .keras. Export it first: lookonce export")
    from lookonce.export import export_onnx

    return export_onnx(file, folder / "exported" / f"{file.stem}.onnx")


ONLINE_SCRIPT, BATCH_SCRIPT = "score_script.py", "batch_script.py"


@dataclass(frozen=True)
class Prepared:
    """Everything a deployment needs, on this disk and in the workspace.

    Args:
        model: `name:version` of the registered model.
        file: the same model on this disk, as .onnx.
        environment: `name:version`; empty for an image that is built elsewhere.
        code: folder of the code snapshot.
        image: image file for smoke tests.
    """

    model: str
    file: Path
    environment: str
    code: Path
    image: Path


def prepare(
    client: MLClient,
    given: str,
    service: str,
    mode: ServingMode | None,
    image: Path | None,
    folder: Path,
    stages: Stages,
) -> Prepared:
    """Check the model `given` on this machine, then register what a deployment needs.

    `mode` is None for an image built elsewhere. Files go to `folder`. Raises LookonceError;
    before the check nothing has gone to Azure.
    """
    with stages.stage(f"reading {given}") as stage:
        model = fetch(client, given, service, folder)
        stage.result = f"{given}: {model.file.stat().st_size / 1e6:.1f} MB of ONNX"
    image = _readable(image) if image else _drawn(folder / "drawn.png")
    code = folder / "code"
    with stages.stage("checking it on this machine") as stage:
        checked = _check(mode, code, model.file, image, folder)
        stage.result = f"works on this machine: {checked.objects} in {image.name}, by {checked.by}"
    with stages.stage("registering the model") as stage:
        registered = register(client, model)
        name = f"{registered.name}:{registered.version}"
        stage.result = f"model {name}"
    if mode is None:
        return Prepared(name, model.file, "", code, image)
    with stages.stage("registering the environment") as stage:
        environment = ensure_serving_environment(client, mode, mode.script == BATCH_SCRIPT)
        stage.result = f"environment {environment}"
    return Prepared(name, model.file, environment, code, image)


def _check(mode: ServingMode | None, code: Path, model: Path, image: Path, folder: Path) -> CheckResult:
    if mode is None or mode.script is None:
        return local_check.check_service(model, image, folder)
    write_snapshot(code, {mode.script: Path(entry_scripts).with_name(mode.script)})
    check = EntryCheck(code, mode.script, model, image, mode.variables, UNUSED, folder)
    return (
        local_check.check_batch_script(check)
        if mode.script == BATCH_SCRIPT
        else local_check.check_online_script(check)
    )


def _readable(image: Path) -> Path:
    from lookonce.io.images import ImageError, read_image

    try:
        read_image(image)
    except ImageError as error:
        raise LookonceError(f"image {error}") from error
    return image.resolve()


def _drawn(target: Path) -> Path:
    """Draw a scene of bolts and nuts; most models detect nothing in it, but return a valid response."""
    import numpy as np
    from PIL import Image

    from lookonce.labels.demo_set import draw_scene

    pixels, _ = draw_scene(np.random.default_rng(0))
    Image.fromarray(pixels).save(target)
    return target
