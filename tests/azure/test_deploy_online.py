"""Test `lookonce deploy online` on the stand-in's endpoints, which really serve."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.exceptions import ResourceNotFoundError

from azure_deploying import Desk, desk, detector_file
from azure_stand_in.endpoint_images import Image
from azure_stand_in.endpoint_place import INFERENCE_SERVER
from azure_stand_in.stand_in import StandIn
from lookonce.azure.registry import AzureRegistry
from lookonce.azure.session import find_config, open_workspace
from serving_process import fastest
from waiting import PATIENCE_SECONDS, wait_until

__all__ = ["desk", "detector_file"]

# Becomes ready, but returns 500 for every image.
REFUSING = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def do_POST(self):
        self.send_response(500); self.send_header("Content-Length", "0"); self.end_headers()
        print("no model at all", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
"""


@pytest.fixture
def service(stand_in: StandIn) -> Iterator[str]:
    name = f"t-{uuid.uuid4().hex[:12]}"
    yield name
    stand_in.faults.clear()
    with contextlib.suppress(ResourceNotFoundError):
        stand_in.client().online_endpoints.begin_delete(name).result()


def deploy(desk: Desk, service: str, *more: str):
    return desk.lookonce("deploy", "online", "model.onnx", "--service-name", service, *more)


def state(stand_in: StandIn, service: str) -> tuple[dict[str, int], list[str]]:
    """Return the endpoint's traffic and deployments."""
    client = stand_in.client()
    traffic = client.online_endpoints.get(service).traffic
    used = {name: share for name, share in traffic.items() if share}
    return used, sorted(one.name for one in client.online_deployments.list(service))


def key(stand_in: StandIn, service: str) -> str:
    return str(stand_in.client().online_endpoints.get_keys(service).primary_key)


def test_two_versions_one_after_the_other(stand_in: StandIn, desk: Desk, service: str):
    done = deploy(desk, service, "--image", "dog.jpg", "--description", "dogs and bicycles")
    assert done.code == 0, done.printed
    stages = [re.sub(r" \([\d.]+ (s|min \d+ s)\)$", "", line) for line in done.out.splitlines()]
    assert stages[1] == "works on this machine: 5 objects in dog.jpg, by a separate process"
    assert stages[4:8] == [
        f"endpoint {service} created",
        f"deployment blue of {service} started",
        "blue works: 5 objects in dog.jpg",
        "traffic goes to blue",
    ]
    assert key(stand_in, service) not in done.printed

    found = desk.lookonce("score", "dog.jpg", "--service", service, "--json", "-")
    assert found.code == 0, found.printed
    labels = [box["label"] for box in json.loads(found.out)[0]["boxes"]]
    assert {"dog", "bicycle"} <= set(labels)
    address = stand_in.client().online_endpoints.get(service).scoring_uri
    without = desk.lookonce("score", "dog.jpg", "--uri", address)
    assert without.code == 1
    assert "requires a key (401)" in without.err

    second = deploy(desk, service, "--show-key")
    assert second.code == 0, second.printed
    assert f"deployment green of {service} started" in second.out
    assert "old deployment blue deleted" in second.out
    assert f"Key: {key(stand_in, service)}" in second.out
    assert state(stand_in, service) == ({"green": 100}, ["green"])

    listed = desk.lookonce("deploy", "list", "--on", "azure").out
    (words,) = [line.split() for line in listed.splitlines() if line.split()[0] == service]
    assert words[:6] == [service, "online", "Succeeded", "green", "100", "%:"]
    assert words[6:] == [f"{service}:1", address, "dogs", "and", "bicycles"]
    assert key(stand_in, service) not in listed
    shown = desk.lookonce("deploy", "list", "--on", "azure", "--show-key").out
    assert key(stand_in, service) in shown
    logs = desk.lookonce("deploy", "logs", service, "--on", "azure", "--lines", "3").out
    assert 1 <= len(logs.splitlines()) <= 3
    ended = desk.lookonce("deploy", "delete", service, "--on", "azure")
    assert f"online endpoint {service} and deployment green deleted" in ended.out
    for words in (("deploy", "logs", service, "--on", "azure"), ("score", "dog.jpg", "--service", service)):
        gone = desk.lookonce(*words)
        assert gone.code == 1
        assert f"no service '{service}' in workspace lookonce; it has " in gone.err


def test_a_second_version_that_crashes_leaves_the_first(stand_in: StandIn, desk: Desk, service: str):
    assert deploy(desk, service).code == 0
    # The project's image without --insecure: it does not know that the endpoint checks the key.
    failed = deploy(desk, service, "--container", "images.azurecr.localhost/lookonce:1")
    assert failed.code == 1
    assert f"{service} is not deployed: Azure answered ResourceNotReady" in failed.err
    assert "the log of green:\n  lookonce: --host 0.0.0.0" in failed.err
    assert "blue is in use as before. Nothing is left behind except the registered model" in failed.err
    assert state(stand_in, service) == ({"blue": 100}, ["blue"])
    assert desk.lookonce("score", "dog.jpg", "--service", service).code == 0


def test_a_second_version_that_fails_its_smoke_test_gets_no_traffic(
    stand_in: StandIn, desk: Desk, service: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lookonce.azure.deployment.online._UNREACHABLE_SECONDS", 0.0)
    assert deploy(desk, service).code == 0
    stand_in.images.add("images.azurecr.localhost/refusing:1", Image(("python", "-c", REFUSING)))
    failed = deploy(desk, service, "--container", "images.azurecr.localhost/refusing:1")
    assert failed.code == 1
    assert "drawn.png: the service returned 500" in failed.err
    assert "\n  no model at all" in failed.err
    assert state(stand_in, service) == ({"blue": 100}, ["blue"])


def test_what_azure_refuses_leaves_no_endpoint(stand_in: StandIn, desk: Desk, service: str):
    faults, endpoint = stand_in.faults, f"onlineEndpoints/{service}"
    for break_it, expected in (
        (lambda: faults.quota("onlineEndpoints"), "Not enough quota available for Standard_DS3_v2"),
        (
            lambda: faults.name_taken(service),
            "name is taken by another endpoint in the region; choose another",
        ),
        (faults.image_build_failure, "the image build:\n  ERROR: No matching distribution found for nothing"),
        (lambda: faults.forbid(method="PUT", ending=service), "403 AuthorizationFailed"),
    ):
        break_it()
        failed = deploy(desk, service)
        faults.clear()
        assert failed.code == 1, failed.printed
        assert expected in failed.err
        assert re.search(f"Nothing is left behind except the registered model {service}:1", failed.err)
        assert "Traceback" not in failed.err
        assert endpoint not in stand_in.resources


def test_throttling_and_expired_tokens_are_retried(stand_in: StandIn, desk: Desk, service: str):
    stand_in.faults.throttle(2)
    stand_in.faults.unavailable(2, method="PUT")
    stand_in.faults.expire_tokens()
    done = deploy(desk, service)
    assert done.code == 0, done.printed


def test_what_cannot_be_deleted_is_named(stand_in: StandIn, desk: Desk, service: str):
    stand_in.faults.forbid(method="DELETE")
    failed = deploy(desk, service, "--container", "images.azurecr.localhost/lookonce:1")
    assert failed.code == 1
    assert f"Left behind, and may incur costs: endpoint {service}, which could not be deleted" in failed.err
    assert f"lookonce deploy delete {service} --on azure" in failed.err
    stand_in.faults.clear()
    assert desk.lookonce("deploy", "delete", service, "--on", "azure").code == 0


def test_a_share_of_the_traffic_then_all_of_it(stand_in: StandIn, desk: Desk, service: str):
    alone = deploy(desk, service, "--traffic", "10")
    assert "no other deployment yet; leave --traffic out" in alone.err
    assert deploy(desk, service).code == 0
    shared = deploy(desk, service, "--traffic", "10")
    assert "traffic goes to blue 90 %, green 10 %" in shared.out, shared.printed
    third = deploy(desk, service)
    assert (
        f"is shared: blue 90 %, green 10 %. Choose one deployment first: lookonce deploy traffic {service}"
        in third.err
    )
    for wrong, expected in (
        (["green=60"], "sum to 60"),
        (["red=100"], "no deployment 'red'; it has blue, green"),
        (["green"], "'green' is not DEPLOYMENT=PERCENT"),
    ):
        assert expected in desk.lookonce("deploy", "traffic", service, *wrong).err
    moved = desk.lookonce("deploy", "traffic", service, "green=100")
    assert f"traffic of {service} goes to green" in moved.out
    refused = desk.lookonce("deploy", "delete", service, "--deployment", "green", "--on", "azure")
    assert refused.code == 1
    assert "100% of the endpoint's traffic" in refused.err
    # The idle deployment is replaced.
    kept = deploy(desk, service, "--keep-old")
    assert f"idle deployment blue of {service} deleted" in kept.out, kept.printed
    assert state(stand_in, service) == ({"blue": 100}, ["blue", "green"])
    one = desk.lookonce("deploy", "delete", service, "--deployment", "green", "--on", "azure")
    assert f"deployment green of {service} deleted" in one.out
    assert state(stand_in, service) == ({"blue": 100}, ["blue"])


def test_an_image_that_the_workspace_builds(stand_in: StandIn, desk: Desk, service: str):
    done = deploy(desk, service, "--container", "--image", "dog.jpg")
    assert done.code == 0, done.printed
    assert "works on this machine: 5 objects in dog.jpg, by lookonce serve" in done.out
    assert "blue works: 5 objects in dog.jpg" in done.out


def test_the_inference_server_is_used_where_it_is_installed(
    stand_in: StandIn, desk: Desk, service: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", f"{INFERENCE_SERVER.parent}{os.pathsep}{os.environ['PATH']}")
    done = deploy(desk, service, "--image", "dog.jpg")
    assert "works on this machine: 5 objects in dog.jpg, by azmlinfsrv" in done.out, done.printed


def test_what_fails_here_never_reaches_azure(stand_in: StandIn, desk: Desk, service: str):
    (desk.folder / "broken.onnx").write_bytes((desk.folder / "model.onnx").read_bytes()[:100_000])
    failed = desk.lookonce("deploy", "online", "broken.onnx", "--service-name", service)
    assert failed.code == 1
    assert "fails on this machine; nothing was sent to Azure" in failed.err
    assert "broken.onnx" in failed.err
    for words, expected in (
        (["model.onnx", "--service-name", "a b"], "'a b' is not a service name"),
        (["model.onnx", "--service-name", service, "--traffic", "0"], "--traffic is 0"),
        (["none.onnx", "--service-name", service], "none.onnx: no such file"),
        (["model.onnx", "--service-name", service, "--image", "config.json"], "image config.json"),
        (["nothing-like-it:3", "--service-name", service], "no model 'nothing-like-it' is registered"),
    ):
        wrong = desk.lookonce("deploy", "online", *words)
        assert wrong.code == 1
        assert expected in wrong.err
    assert [one.path for one in stand_in.requests if one.method in ("PUT", "PATCH", "DELETE")] == []


def test_a_registered_model_is_exported_where_it_must_be(
    stand_in: StandIn, desk: Desk, shared: Path, service: str
):
    from lookonce.models.keras import save_model
    from lookonce.models.open import open_model

    cfg, _, weights, _, classes = fastest(shared)
    network, card = open_model(cfg, weights=weights, classes=classes)
    save_model(desk.folder / "dogs.keras", network, card)
    registry = AzureRegistry(open_workspace(find_config(stand_in.config)))
    registry.register(desk.folder / "dogs.keras", service, {}, "best")
    done = desk.lookonce(
        "deploy", "online", f"{service}:best", "--service-name", service, "--image", "dog.jpg"
    )
    assert done.code == 0, done.printed
    assert f"model {service}-onnx:1" in done.out
    assert registry.versions(f"{service}-onnx")[0].tags["source"] == f"{service}:1"


def polls(stand_in: StandIn) -> int:
    """Count the requests so far for the state of a running operation."""
    return sum(
        "/mfeOperationsStatus/" in one.path and one.got["status"] == "InProgress" for one in stand_in.requests
    )


def test_ctrl_c_reports_what_azure_continues(stand_in: StandIn, desk: Desk, service: str):
    stand_in.faults.slow_operations(600)
    before = polls(stand_in)
    process = subprocess.Popen(
        [sys.executable, "-m", "lookonce", "deploy", "online", "model.onnx", "--service-name", service],
        cwd=desk.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # The client polls the operation that creates the endpoint.
    wait_until(lambda: process.poll() is not None or polls(stand_in) > before)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert (
        f"Azure continues creating endpoint {service}. Check it with lookonce deploy list --on azure"
        in printed
    )
    assert f"lookonce deploy delete {service} --on azure" in printed
    assert "Traceback" not in printed
    stand_in.faults.clear()
    endpoint = f"onlineEndpoints/{service}"
    wait_until(lambda: stand_in.resources.get(endpoint)["properties"]["provisioningState"] != "Creating")


def test_ctrl_c_between_operations_reports_what_is_left(
    stand_in: StandIn, desk: Desk, service: str, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lookonce.azure.deployment.online.smoke_test", interrupted)
    stopped = deploy(desk, service)
    assert stopped.code == 130
    assert f"left in Azure: endpoint {service}. Check it with lookonce deploy list" in stopped.err
    assert state(stand_in, service) == ({}, ["blue"])


def test_help_imports_nothing_of_azure():
    code = (
        "import sys\n"
        "from lookonce.cli.main import build_parser\n"
        "build_parser()\n"
        "sys.exit(', '.join(name for name in sys.modules if name.startswith(('azure', 'lookonce.azure.')))"
        " or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
