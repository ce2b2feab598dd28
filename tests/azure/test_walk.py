"""Run the ten steps of a project in order, with the commands that a user types, on the stand-in."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.exceptions import ResourceNotFoundError

from azure_stand_in.endpoint_place import INFERENCE_SERVER
from azure_stand_in.stand_in import StandIn
from azure_walk import Walk
from requirements import missing

DOCUMENT = Path(__file__).parents[2] / "docs" / "azure-walkthrough.md"
IMAGE = "bccd/JPEGImages/BloodImage_00007.jpg"


@pytest.fixture
def walk(stand_in: StandIn, shared: Path, tmp_path: Path) -> Iterator[Walk]:
    """A folder with BCCD, base weights and config.json; the names in the walk are unused in the workspace."""
    if not INFERENCE_SERVER.exists():
        missing(f"azureml-inference-server-http is not installed in {INFERENCE_SERVER.parents[1]}")
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copytree(shared / "data" / "bccd", folder / "bccd", copy_function=shutil.copyfile)
    weights = shared / "weights" / "yolov3-tiny-partial" / "yolov3-tiny.real-first5.weights"
    shutil.copyfile(weights, folder / "yolov3-tiny.weights")
    shutil.copyfile(stand_in.config, folder / "config.json")
    environment = {
        **stand_in.environment,
        "STORAGE_ACCOUNT_NAME": stand_in.storage.account,
        "STORAGE_ACCOUNT_KEY": stand_in.storage.key,
        "STORAGE_ENDPOINT_SUFFIX": "core.localhost",
        "STORAGE_CONTAINER_NAME_RAWDATA": "raw",
        "STORAGE_CONTAINER_NAME_TRAINDATA": "labelled",
        "WEBSERVICE_KEY": "local-key-of-the-walk",
        "HOME": str(tmp_path),
    }
    yield Walk(folder, environment, {str(tmp_path): "~", stand_in.tokens.client_id: "CLIENT-ID"})
    with contextlib.suppress(ResourceNotFoundError):
        stand_in.client().online_endpoints.begin_delete("cells-online").result()


def test_ten_steps(walk: Walk, stand_in: StandIn) -> None:
    # 1 provision, 2 install: the commands that create the workspace; check it.
    walk.run("lookonce azure provision --subscription ID --resource-group vision --workspace vision")
    checked = walk.run("lookonce azure check")
    assert "--  " not in checked
    # 3 the base model, 4 the images, 5 the labels.
    walk.run("lookonce models register yolov3-tiny.weights --on azure")
    walk.run("lookonce storage upload bccd/JPEGImages")
    walk.run("lookonce data check bccd")
    walk.run("lookonce storage upload bccd --container labelled --prefix bccd")
    # 6 training, watched to its end.
    trained = walk.run(
        "lookonce train bccd --on azure --ds-name labelled --experiment-name cells --gpu-num 0 "
        "--weights yolov3-tiny --size 320 --epochs 4"
    )
    assert "epoch   4" in trained
    assert "Registered cells:2, the best model" in trained
    job = re.findall(r"Job: (\S+)", trained)[0]
    walk.run("lookonce azure jobs list")
    # 7 the model on this machine.
    walk.run("lookonce models download cells:best --on azure")
    walk.run(f"lookonce azure jobs download {job} --out outputs")
    assert (walk.folder / "outputs" / "model.keras").read_bytes() == (
        walk.folder / "model.keras"
    ).read_bytes()
    # 8 detection.
    walk.run(f"lookonce detect model.keras {IMAGE} --conf 0.1 --output found.jpg --json found.json")
    boxes = json.loads((walk.folder / "found.json").read_text())[0]["boxes"]
    assert boxes
    # 10 ONNX, before 9, which serves it.
    walk.run("lookonce export model.keras --output model.onnx")
    walk.run("lookonce benchmark model.onnx")
    # 9 served on this machine …
    local = f"http://127.0.0.1:{free_port()}"
    walk.run(f"lookonce deploy local model.onnx --service-name cells --port {local.rpartition(':')[2]}")
    try:
        answer = walk.run(f"lookonce score {IMAGE} --uri {local} --json local.json")
        assert "boxes" in answer or "RBC" in answer
        refused = walk.run(f"lookonce score {IMAGE} --uri {local}", status=1, without=("WEBSERVICE_KEY",))
        assert "WEBSERVICE_KEY" in refused
    finally:
        walk.run("lookonce deploy delete cells")
    # … and in Azure.
    online = walk.run("lookonce deploy online cells:best --service-name cells-online")
    address = re.findall(r"https://\S+/score\b|https://\S+/inference/\S+", online)[0]
    keys = set(stand_in.deployments.keys.of("onlineEndpoints/cells-online").values())
    scored = walk.run(f"lookonce score {IMAGE} --service cells-online --json online.json")
    assert scored
    assert same_boxes(walk.folder / "online.json", walk.folder / "local.json")
    refused = walk.run(f"lookonce score {IMAGE} --uri {address}", status=1, without=("WEBSERVICE_KEY",))
    assert "key" in refused
    walk.run("lookonce deploy logs cells-online --on azure --lines 5")
    walk.run("lookonce deploy delete cells-online --on azure")
    check_secrets(walk, stand_in, keys)
    write_or_compare(walk)


def same_boxes(one: Path, other: Path) -> bool:
    """Return whether two responses have the same objects in the same places."""
    found = [
        [
            (box["label"], round(box["score"], 3), *(round(at, 3) for at in box["box"].values()))
            for box in boxes
        ]
        for boxes in (json.loads(path.read_text())[0]["boxes"] for path in (one, other))
    ]
    return found[0] == found[1] and bool(found[0])


def check_secrets(walk: Walk, stand_in: StandIn, keys: set[str]) -> None:
    """Check that no secret was printed, written, sent as code, logged or tracked."""
    secrets = [
        stand_in.storage.key,
        stand_in.tokens.client_secret,
        walk.environment["WEBSERVICE_KEY"],
        *keys,
    ]
    assert all(len(secret) > 12 for secret in secrets)
    printed = "\n".join(output for _, output in walk.steps).encode()
    places = {"what was printed": printed}
    for path in walk.folder.parent.rglob("*"):
        if path.is_file():
            places[str(path)] = path.read_bytes()
    for path in (stand_in.folder / "mlflow").rglob("*"):
        if path.is_file():
            places[str(path)] = path.read_bytes()
    for container in stand_in.storage.containers():
        for blob in stand_in.storage.names(container, ""):
            places[f"{container}/{blob}"] = stand_in.storage.read(container, blob)
    for number, request in enumerate(stand_in.requests):
        # The key is registered with the datastore, and sent nowhere else.
        if "/datastores/" not in request.path and "/oauth2/" not in request.path:
            places[f"request {number} {request.path}"] = request.sent
    for place, content in places.items():
        for secret in secrets:
            assert secret.encode() not in content, f"a secret is in {place}"


def write_or_compare(walk: Walk) -> None:
    """Compare the document's commands; with LOOKONCE_WRITE_WALK=1 rewrite its blocks."""
    text = DOCUMENT.read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    commands = [line for block in blocks for line in re.findall(r"^\$ (.*)$", block, flags=re.MULTILINE)]
    ran = [walk.shown(line) for line, _ in walk.steps]
    if os.environ.get("LOOKONCE_WRITE_WALK"):
        for block in blocks:
            lines = re.findall(r"^\$ (.*)$", block, flags=re.MULTILINE)
            steps = [step for step in walk.steps if any(similar(step[0], line) for line in lines)]
            new = "\n\n".join(walk.shown(f"$ {line}\n{text}".rstrip()) for line, text in steps)
            text = text.replace(block, f"{new}\n")
        DOCUMENT.write_text(text, encoding="utf-8")
        return
    missing = [line for line in ran if not any(similar(line, known) for known in commands)]
    assert not missing, f"{DOCUMENT.name} lacks {missing}; LOOKONCE_WRITE_WALK=1 writes it"


def similar(one: str, other: str) -> bool:
    """Return whether two lines are equal except for job names and ports."""
    plain = [
        re.sub(r"cells-\d{8}-\S+|127\.0\.0\.1:\d+|--port \d+|https://\S+", "*", line) for line in (one, other)
    ]
    return plain[0] == plain[1]


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
