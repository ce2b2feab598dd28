"""Test `lookonce deploy batch` and `lookonce score FOLDER --service NAME` on the stand-in's clusters."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.ai.ml.entities import AmlCompute

from azure_deploying import Desk, desk, detector_file
from azure_stand_in.stand_in import StandIn
from lookonce.azure.deployment import batch_jobs
from lookonce.errors import LookonceError
from lookonce.inference import Detector

__all__ = ["desk", "detector_file"]


@pytest.fixture
def cluster(stand_in: StandIn) -> str:
    wanted = AmlCompute(name=f"c{uuid.uuid4().hex[:10]}x", size="STANDARD_DS3_V2", max_instances=1)
    return str(stand_in.client().compute.begin_create_or_update(wanted).result().name)


@pytest.fixture
def service(stand_in: StandIn, desk: Desk) -> Iterator[str]:
    name = f"b-{uuid.uuid4().hex[:12]}"
    yield name
    stand_in.faults.clear()
    if f"batchEndpoints/{name}" in stand_in.resources:
        assert desk.lookonce("deploy", "delete", name, "--on", "azure").code == 0


@pytest.fixture
def photos(desk: Desk, shared: Path) -> Path:
    """Two images of one name in two folders, a broken image, and a file that is no image."""
    folder = desk.folder / "photos"
    (folder / "more").mkdir(parents=True)
    shutil.copy(shared / "images" / "dog.jpg", folder / "a.jpg")
    shutil.copy(shared / "images" / "eagle.jpg", folder / "more" / "a.jpg")
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("private")
    return folder


def test_a_folder_is_scored_by_a_job(
    stand_in: StandIn, desk: Desk, service: str, cluster: str, photos: Path, detector_file: Path
):
    def deploy(*more: str):
        words = ("model.onnx", "--service-name", service, "--compute", cluster, *more)
        return desk.lookonce("deploy", "batch", *words)

    first = deploy("--image", "dog.jpg", "--conf", "0.4", "--smoke-test")
    assert first.code == 0, first.printed
    assert "works on this machine: 4 objects in dog.jpg" in first.out
    assert "blue works: 4 objects in dog.jpg" in first.out
    assert f"Try it: lookonce score photos/ --service {service}" in first.out

    found = desk.lookonce("score", "photos", "photos/more", "--service", service, "--json", "-")
    assert found.code == 1
    assert "photos/broken.jpg: " in found.err
    assert "3 images are in datastore workspaceblobstore" in found.err
    rows = json.loads(found.out)
    detector = Detector(detector_file, conf=0.4)
    expected = [detector.detect(photos / name).to_dict(name) for name in ("a.jpg", "more/a.jpg")]
    assert sorted(rows, key=lambda row: str(row["filename"])) == expected
    sent = [
        path
        for path in stand_in.storage.names("azureml-blobstore", "lookonce/batch")
        if "/photos" not in path
    ]
    assert not [path for path in sent if path.endswith("notes.txt")]

    (photos / "broken.jpg").unlink()
    job = re.search(r"job (batchjob-\S+) completed", found.err)[1]
    again = desk.lookonce(
        "score", "photos", "photos/more", "--service", service, "--job", job, "--output", "drawn"
    )
    assert again.code == 0, again.printed
    assert (desk.folder / "drawn" / "more" / "a.jpg").exists()
    for words, expected in (
        (["--conf", "0.5"], "thresholds"),
        (["--bench"], "--bench measures"),
    ):
        refused = desk.lookonce("score", "photos", "--service", service, *words)
        assert refused.code == 1
        assert expected in refused.err

    second = deploy()
    assert second.code == 0, second.printed
    assert "jobs go to green" in second.out
    assert "old deployment blue deleted" in second.out
    listed = desk.lookonce("deploy", "list", "--on", "azure").out
    (words,) = [line.split() for line in listed.splitlines() if line.split()[0] == service]
    assert words[1:6] == ["batch", "Succeeded", "green", "(default):", f"{service}:1"]
    logs = desk.lookonce("deploy", "logs", service, "--on", "azure", "--lines", "3")
    assert "3 of 3 files" in logs.out, logs.printed
    ended = desk.lookonce("deploy", "delete", service, "--on", "azure")
    assert f"batch endpoint {service} and deployment green deleted" in ended.out


def test_a_job_that_fails_shows_its_log(
    stand_in: StandIn, desk: Desk, service: str, cluster: str, monkeypatch: pytest.MonkeyPatch
):
    # Leave out the packages of the service's driver.
    monkeypatch.setattr("lookonce.azure.environments._DRIVER", ())
    words = ("model.onnx", "--service-name", service, "--compute", cluster)
    failed = desk.lookonce("deploy", "batch", *words, "--smoke-test")
    assert failed.code == 1
    assert "ended as Failed" in failed.err
    assert "ModuleNotFoundError: No module named 'azureml.core'" in failed.err
    assert f"Nothing is left behind except the registered model {service}:1" in failed.err
    assert f"batchEndpoints/{service}" not in stand_in.resources


def test_rows_are_read_as_the_service_may_write_them(tmp_path: Path):
    row = {"filename": "/mnt/node/input/more/a b.jpg", "boxes": [{"label": 'the "dog"'}]}
    text = json.dumps(row)
    file = tmp_path / "predictions.jsonl"
    quoted = '"' + text.replace('"', '""') + '"'
    file.write_text(f"{text}\n\n{quoted}\r\n")
    assert batch_jobs._rows(file) == [row, row]
    file.write_text("Traceback (most recent call last):\n")
    with pytest.raises(LookonceError, match="invalid line: 'Traceback"):
        batch_jobs._rows(file)
    images = dict.fromkeys(["a b.jpg", "more/a b.jpg"], tmp_path)
    assert batch_jobs._named(row["filename"], images) == "more/a b.jpg"
    assert batch_jobs._named("/mnt/node/input/a b.jpg", images) == "a b.jpg"
    assert batch_jobs._named("/mnt/c.jpg", images) is None


def test_what_is_refused(stand_in: StandIn, desk: Desk, service: str, cluster: str):
    for words, expected in (
        (
            ["--compute", "nowhere"],
            "no compute 'nowhere' in workspace lookonce; of kind amlcompute",
        ),
        (["--compute", cluster, "--conf", "2"], "--conf is 2.0"),
        (["--compute", cluster, "--mini-batch", "0"], "--mini-batch is 0"),
    ):
        wrong = desk.lookonce("deploy", "batch", "model.onnx", "--service-name", service, *words)
        assert wrong.code == 1
        assert expected in wrong.err
    stand_in.faults.forbid(method="PUT", ending="/deployments/blue")
    failed = desk.lookonce("deploy", "batch", "model.onnx", "--service-name", service, "--compute", cluster)
    assert "403 AuthorizationFailed" in failed.err
    assert f"batchEndpoints/{service}" not in stand_in.resources
