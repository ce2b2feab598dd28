"""`lookonce deploy local`: a service in the background of this machine, or with --docker in a container."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from lookonce.errors import LookonceError


def add_parser(actions: Any, examples: str) -> None:
    """Add `local`."""
    local = actions.add_parser(
        "local",
        help="on this machine, in the background",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    local.add_argument("model", metavar="MODEL", type=Path, help="a .onnx or .keras model")
    local.add_argument("--service-name", required=True, metavar="NAME")
    local.add_argument("--description", default="", metavar="TEXT")
    local.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    local.add_argument("--port", type=int, default=0, help="default: a free one")
    local.add_argument("--workers", type=int, default=1, metavar="N")
    local.add_argument(
        "--key-env", default="WEBSERVICE_KEY", metavar="NAME", help="environment variable with the key"
    )
    local.add_argument("--insecure", action="store_true", help="no key, although other machines can reach it")
    local.add_argument(
        "--azure-server",
        nargs="?",
        const="azmlinfsrv",
        metavar="FILE",
        help="serve with azureml-inference-server-http, as Azure does (default: azmlinfsrv on the PATH)",
    )
    local.add_argument("--docker", action="store_true", help="in a container, from an image built here")
    local.set_defaults(run=_local)


def _local(arguments: argparse.Namespace) -> int:
    from lookonce.deploy.docker import services as in_docker
    from lookonce.deploy.local import check_name, describe, free_port, serve_command, start

    check_name(arguments.service_name)
    model = arguments.model.resolve()
    if not model.exists():
        raise LookonceError(f"{arguments.model}: no such file. Give a model's file.")
    if arguments.service_name in {one.name for one in in_docker()}:
        raise LookonceError(
            f"service {arguments.service_name} already exists, in Docker. Delete it first: lookonce deploy "
            f"delete {arguments.service_name}"
        )
    port = free_port(arguments.host, arguments.port)
    if arguments.docker:
        return _print_ready(arguments, arguments.service_name, _start_in_docker(arguments, model, port))
    ready = "/ready"
    if arguments.azure_server:
        if not arguments.insecure:
            raise LookonceError(
                "Azure's server listens on every address of this machine and requires no key; in Azure the "
                "endpoint in front of it does. Add --insecure to accept that."
            )
        command, ready = _azure_server(arguments.azure_server, port), "/"
    else:
        more = ["--workers", str(arguments.workers), "--key-env", arguments.key_env]
        more += ["--insecure"] if arguments.insecure else []
        command = serve_command(model, arguments.host, port, more)
    service = describe(
        arguments.service_name,
        model,
        command,
        arguments.host,
        port,
        ready=ready,
        description=arguments.description,
    )
    environment = {**os.environ, "LOOKONCE_MODEL": str(model)}
    done = start(service, environment)
    return _print_ready(arguments, done.name, done.url)


def _print_ready(arguments: argparse.Namespace, name: str, url: str) -> int:
    key = " with the key in " + arguments.key_env if os.environ.get(arguments.key_env) else ""
    print(f"{name} is ready: {url}")
    print(f"Try it{key}: lookonce score photo.jpg --uri {url}")
    print(f"Delete it: lookonce deploy delete {name}")
    return 0


def _azure_server(program: str, port: int) -> list[str]:
    from lookonce.serving.protocols.azure import __file__ as package

    found = shutil.which(program)
    if found is None:
        raise LookonceError(
            f"{program} is not installed. It needs older packages, so use a virtual environment: pip install "
            "lookonce azureml-inference-server-http; then --azure-server ENVIRONMENT/bin/azmlinfsrv"
        )
    entry = Path(package).with_name("score_script.py")
    return [found, "--entry_script", str(entry), "--port", str(port)]


def _start_in_docker(arguments: argparse.Namespace, model: Path, port: int) -> str:
    """Build the image if it is missing, start it with the model; return the URI. Raises LookonceError."""
    from lookonce.deploy.docker import DockerService, build, check_engine, start
    from lookonce.deploy.local import services
    from lookonce.deploy.package.image_context import write_context

    for given, flag in (
        (arguments.azure_server, "--azure-server"),
        (arguments.workers > 1, "--workers"),
        (arguments.key_env != "WEBSERVICE_KEY", "--key-env"),
    ):
        if given:
            raise LookonceError(f"{flag} works only without --docker. Leave it out.")
    if arguments.service_name in {one.name for one in services()}:
        raise LookonceError(
            f"service {arguments.service_name} already exists, without Docker. Delete it first: lookonce "
            f"deploy delete {arguments.service_name}"
        )
    key = os.environ.get("WEBSERVICE_KEY")
    loopback = arguments.host in ("127.0.0.1", "::1", "localhost")
    if not key and not loopback and not arguments.insecure:
        raise LookonceError(
            f"--host {arguments.host} is reachable from other machines, and there is no key. Set "
            "WEBSERVICE_KEY, or add --insecure where a proxy checks one."
        )
    check_engine()
    with tempfile.TemporaryDirectory(prefix="lookonce-") as folder:
        context = Path(folder)
        print("Building the image; the first build takes minutes.", flush=True)
        image = build(context, write_context(context, None))
    address = "127.0.0.1" if arguments.host in ("0.0.0.0", "::", "localhost") else arguments.host
    host = f"[{address}]" if ":" in address else address
    service = DockerService(
        arguments.service_name,
        f"http://{host}:{port}/score",
        str(model),
        image,
        arguments.description,
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    _copy_model(model, service.folder / "model")
    try:
        start(service, arguments.host, port, os.environ)
    except LookonceError:
        shutil.rmtree(service.folder, ignore_errors=True)
        raise
    return service.url


def _copy_model(model: Path, folder: Path) -> None:
    """Copy or export the model to `folder` as ONNX, readable for the container's user."""
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
