"""Test `lookonce deploy aci`: build an image in the stand-in's registry, run it as a container group."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from azure_deploying import Desk, desk, detector_file
from azure_stand_in.endpoint_images import BuildError
from azure_stand_in.stand_in import StandIn
from lookonce.deploy.package.image_context import write_context

__all__ = ["desk", "detector_file"]


@pytest.fixture
def service(stand_in: StandIn, desk: Desk) -> Iterator[str]:
    name = f"t-{uuid.uuid4().hex[:12]}"
    yield name
    stand_in.registry.at_build = lambda run: None
    stand_in.registry.admin = True
    stand_in.faults.clear()
    if name in stand_in.containers.groups:
        assert desk.lookonce("deploy", "delete", name, "--on", "azure").code == 0


def deploy(desk: Desk, service: str, *more: str):
    return desk.lookonce("deploy", "aci", "model.onnx", "--service-name", service, *more)


def key_of(stand_in: StandIn, service: str) -> str:
    """Return the key that the container got; it is never printed."""
    (one,) = stand_in.containers.groups[service].body["properties"]["containers"]
    (variable,) = one["properties"]["environmentVariables"]
    assert set(variable) == {"name", "secureValue"}
    return str(variable["secureValue"])


def test_a_container_with_a_key_of_its_own(stand_in: StandIn, desk: Desk, service: str):
    done = deploy(desk, service, "--image", "dog.jpg", "--description", "dogs", "--dns-label", "dogs-here")
    assert done.code == 0, done.printed
    assert "5 objects in dog.jpg, by lookonce serve" in done.out
    assert f"{service} works: 5 objects in dog.jpg" in done.out
    key = key_of(stand_in, service)
    body = stand_in.containers.groups[service].body["properties"]
    assert body["containers"][0]["properties"]["resources"]["requests"] == {"cpu": 1.0, "memoryInGB": 6.0}
    assert body["ipAddress"]["dnsNameLabel"] == "dogs-here"

    found = desk.lookonce("score", "dog.jpg", "--service", service, "--json", "-")
    assert len(json.loads(found.out)[0]["boxes"]) == 5, found.printed
    address = done.out.split(f"{service} is ready: ")[1].split()[0]
    without = desk.lookonce("score", "dog.jpg", "--uri", address)
    assert "requires a key (401)" in without.err
    again = deploy(desk, service)
    assert f"{service} exists as a container instance" in again.err
    listed = desk.lookonce("deploy", "list", "--on", "azure")
    (words,) = [line.split() for line in listed.out.splitlines() if line.split()[0] == service]
    assert words[1:] == ["aci", "Running", f"{service}:1", address, "dogs"]
    logs = desk.lookonce("deploy", "logs", service, "--on", "azure", "--lines", "2")
    assert len(logs.out.splitlines()) == 2
    ended = desk.lookonce("deploy", "delete", service, "--on", "azure")
    assert f"container instance {service} and its key deleted" in ended.out
    assert service not in stand_in.containers.groups
    assert f"connections/aci-{service}" not in stand_in.resources
    printed = "".join(one.printed for one in (done, found, without, again, listed, logs, ended))
    assert key not in printed
    assert not [one for one in stand_in.requests if key in one.path]


def test_the_users_key_and_showing_it(
    stand_in: StandIn, desk: Desk, service: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WEBSERVICE_KEY", "the-users-own-key")
    done = deploy(desk, service, "--show-key", "--cpu", "2", "--memory", "3.5")
    assert "Key: the-users-own-key" in done.out, done.printed
    assert key_of(stand_in, service) == "the-users-own-key"
    monkeypatch.delenv("WEBSERVICE_KEY")
    assert desk.lookonce("score", "dog.jpg", "--service", service).code == 0


def test_the_images_user_may_read_what_is_in_it(desk: Desk, tmp_path: Path):
    before = os.umask(0o077)
    try:
        folder = tmp_path / "context"
        folder.mkdir()
        write_context(folder, desk.folder / "model.onnx")
    finally:
        os.umask(before)
    files = [folder, *folder.rglob("*")]
    assert {path.name for path in files} >= {"Dockerfile", "model.onnx", "requirements.txt", "serve.py"}
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in files)
    assert not [path for path in files if path.name in ("config.json", "dog.jpg")]


def test_a_failed_build_shows_its_log(stand_in: StandIn, desk: Desk, service: str):
    def fail(run: str) -> None:
        raise BuildError("ERROR: No matching distribution found for onnxruntime")

    stand_in.registry.at_build = fail
    failed = deploy(desk, service)
    assert failed.code == 1
    assert "ended as Failed. Last lines" in failed.err
    assert "ERROR: No matching distribution found for onnxruntime" in failed.err
    assert f"Nothing is left behind except the registered model {service}:1, which" in failed.err
    assert service not in stand_in.containers.groups


def test_a_crashing_container_is_deleted(
    stand_in: StandIn, desk: Desk, service: str, monkeypatch: pytest.MonkeyPatch
):
    # The image builds, but its command has an unknown option.
    monkeypatch.setattr(
        "lookonce.deploy.package.image_context._SERVE", ("python", "-m", "lookonce", "serve", "--no")
    )
    failed = deploy(desk, service)
    assert failed.code == 1
    assert "does not stay up: " in failed.err
    assert "unrecognized arguments: --no" in failed.err
    assert f"and the image lookonce/{service}:" in failed.err
    assert service not in stand_in.containers.groups


def test_what_is_refused(stand_in: StandIn, desk: Desk, service: str, monkeypatch: pytest.MonkeyPatch):
    for words, expected in (
        (["--service-name", "Cells"], "'Cells' is not a container instance name"),
        (["--service-name", service, "--cpu", "0"], "0 cores and 6 GB"),
        (["--service-name", service, "--dns-label", "a_b"], "'a_b' is not a DNS label"),
    ):
        wrong = desk.lookonce("deploy", "aci", "model.onnx", *words)
        assert wrong.code == 1
        assert expected in wrong.err
    stand_in.registry.admin = False
    closed = deploy(desk, service)
    assert "az acr update --name lookonce --admin-enabled true" in closed.err
    stand_in.registry.admin = True
    # A generated key that the workspace cannot store would be lost: refuse to deploy.
    stand_in.faults.forbid(method="PUT", ending=f"connections/aci-{service}")
    unkept = deploy(desk, service)
    assert unkept.code == 1
    assert "Set WEBSERVICE_KEY" in unkept.err
    assert service not in stand_in.containers.groups
    monkeypatch.setenv("WEBSERVICE_KEY", "the-users-own-key")
    kept = deploy(desk, service)
    assert kept.code == 0
    assert "needs the key in WEBSERVICE_KEY" in kept.out
    assert "the-users-own-key" not in kept.printed
    assert desk.lookonce("score", "dog.jpg", "--service", service).code == 0
