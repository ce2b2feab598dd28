"""All that comes before a deployment: the model, the code, an image, and a try on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lookonce.azure import local_check
from lookonce.azure.deployable import fetch, register
from lookonce.azure.local_check import Trial, Tried
from lookonce.azure.serving_environment import UNUSED, Way, ensure_environment
from lookonce.azure.stages import Stages
from lookonce.deploy.package.snapshot import write_snapshot
from lookonce.errors import LookonceError
from lookonce.serving.protocols.azure import __file__ as entry_scripts

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

ONLINE_SCRIPT, BATCH_SCRIPT = "score_script.py", "batch_script.py"


@dataclass(frozen=True)
class Prepared:
    """What a deployment needs, on this disk and in the workspace.

    Args:
        model: `name:version`, registered.
        file: the same on this disk, .onnx.
        environment: `name:version`; empty where there is none, for an image that is built elsewhere.
        code: the folder that travels.
        image: to be asked about.
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
    way: Way | None,
    image: Path | None,
    folder: Path,
    stages: Stages,
) -> Prepared:
    """Try MODEL here, then register what a deployment by `way` needs.

    `way` is None for an image that is built elsewhere. Files go to `folder`. Raises LookonceError; before the
    try nothing has gone to Azure.
    """
    with stages.stage(f"getting {given}") as stage:
        model = fetch(client, given, service, folder)
        stage.told = f"{given}: {model.file.stat().st_size / 1e6:.1f} MB of ONNX"
    image = _checked(image) if image else _drawn(folder / "drawn.png")
    code = folder / "code"
    with stages.stage("trying it here first") as stage:
        tried = _try(way, code, model.file, image, folder)
        stage.told = f"tried here: {tried.objects} in {image.name}, by {tried.by}"
    with stages.stage("registering the model") as stage:
        registered = register(client, model)
        name = f"{registered.name}:{registered.version}"
        stage.told = f"model {name}"
    if way is None:
        return Prepared(name, model.file, "", code, image)
    with stages.stage("registering the environment") as stage:
        environment = ensure_environment(client, way, way.script == BATCH_SCRIPT)
        stage.told = f"environment {environment}"
    return Prepared(name, model.file, environment, code, image)


def _try(way: Way | None, code: Path, model: Path, image: Path, folder: Path) -> Tried:
    if way is None or way.script is None:
        return local_check.try_service(model, image, folder)
    write_snapshot(code, {way.script: Path(entry_scripts).with_name(way.script)})
    trial = Trial(code, way.script, model, image, way.variables, UNUSED, folder)
    return local_check.try_batch(trial) if way.script == BATCH_SCRIPT else local_check.try_script(trial)


def _checked(image: Path) -> Path:
    from lookonce.io.images import ImageError, read_image

    try:
        read_image(image)
    except ImageError as error:
        raise LookonceError(f"--image {error}") from error
    return image.resolve()


def _drawn(target: Path) -> Path:
    """A scene of bolts and nuts: most models find nothing in it, and answer all the same."""
    import numpy as np
    from PIL import Image

    from lookonce.labels.demo_set import draw_scene

    pixels, _ = draw_scene(np.random.default_rng(0))
    Image.fromarray(pixels).save(target)
    return target
