"""`lookonce deploy local --docker`: the service in a container of this machine."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from lookonce.errors import LookonceError


def start(arguments: argparse.Namespace, model: Path, port: int) -> str:
    """Build the image if it isn't there, and start it with the model; the address. Raises LookonceError."""
    from lookonce.deploy.docker import DockerService, build, check_engine, start
    from lookonce.deploy.local import services
    from lookonce.deploy.package.image_context import write_context

    for given, flag in (
        (arguments.azure_server, "--azure-server"),
        (arguments.workers > 1, "--workers"),
        (arguments.key_env != "WEBSERVICE_KEY", "--key-env"),
    ):
        if given:
            raise LookonceError(f"{flag} is for services without --docker. Leave it out.")
    if arguments.service_name in {one.name for one in services()}:
        raise LookonceError(
            f"service {arguments.service_name} is there already, without Docker. Delete it first: lookonce "
            f"deploy delete {arguments.service_name}"
        )
    key = os.environ.get("WEBSERVICE_KEY")
    loopback = arguments.host in ("127.0.0.1", "::1", "localhost")
    if not key and not loopback and not arguments.insecure:
        raise LookonceError(
            f"--host {arguments.host} can be reached from other machines, and there is no key. Set "
            "WEBSERVICE_KEY, or say --insecure where something in front asks for one."
        )
    check_engine()
    with tempfile.TemporaryDirectory(prefix="lookonce-") as folder:
        context = Path(folder)
        print("Building the image, which takes minutes the first time.", flush=True)
        image = build(context, write_context(context, None))
    reached = "127.0.0.1" if arguments.host in ("0.0.0.0", "::", "localhost") else arguments.host
    host = f"[{reached}]" if ":" in reached else reached
    service = DockerService(
        arguments.service_name,
        f"http://{host}:{port}/score",
        str(model),
        image,
        arguments.description,
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    _bring_model(model, service.folder / "model")
    try:
        start(service, arguments.host, port, os.environ)
    except LookonceError:
        shutil.rmtree(service.folder, ignore_errors=True)
        raise
    return service.url


def _bring_model(model: Path, folder: Path) -> None:
    """As ONNX, readable for the container's user, whatever becomes of the original."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    target = folder / f"{model.stem}.onnx"
    if model.suffix.lower() == ".onnx":
        shutil.copyfile(model, target)
    else:
        from lookonce.export import export_onnx

        export_onnx(model, target)
    target.chmod(0o644)
    folder.chmod(0o755)
