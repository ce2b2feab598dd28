"""A project in a real Label Studio, with `lookonce serve` as its model."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lookonce.export import export_onnx
from lookonce.inference import Detector
from requirements import missing
from serving_process import Serving, fastest

pytestmark = pytest.mark.slow

# Label Studio requires conflicting versions and has its own environment (see the Makefile).
PROGRAM = Path(sys.prefix) / "label-studio" / "bin" / "label-studio"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
KEY = "the-services-key"
CONFIG = """
<View>
  <Image name="photo" value="$image"/>
  <RectangleLabels name="things" toName="photo">
    <Label value="Dog"/><Label value="Bike" predicted_values="bicycle"/>
  </RectangleLabels>
</View>
"""


class LabelStudio:
    """A running Label Studio with one user; `api` speaks to it as that user."""

    def __init__(self, folder: Path) -> None:
        if not PROGRAM.exists():
            missing(f"label-studio is not installed in {PROGRAM.parents[1]}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", folder / "label-studio.log"
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
            # By default it blocks models on this machine and in private networks.
            "USE_DEFAULT_BANNED_SUBNETS": "false",
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
        }
        user = ["--username", "user@example.com", "--password", "a-password-12", "--user-token", TOKEN]
        options = ["--no-browser", "--port", str(port), "--enable-legacy-api-token", *user]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "start", *options], cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT
            )
        self.api = httpx.Client(
            base_url=f"{self.url}/api", headers={"Authorization": f"Token {TOKEN}"}, timeout=120
        )
        until = time.monotonic() + 400
        while not self._lives():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.3)

    def _lives(self) -> bool:
        try:
            return self.api.get("/projects", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    def call(self, method: str, path: str, **options: Any) -> Any:
        reply = self.api.request(method, path, **options)
        assert reply.is_success, f"{reply.status_code} {reply.text}"
        return reply.json()

    def project(self, images: list[Path], config: str = CONFIG) -> int:
        number = self.call("POST", "/projects", json={"title": "Dogs", "label_config": config})["id"]
        for image in images:
            with image.open("rb") as content:
                self.call("POST", f"/projects/{number}/import", files={"file": (image.name, content)})
        return number

    def connect(self, project: int, service: Serving, password: str = KEY) -> httpx.Response:
        model = {"url": f"{service.url}/label-studio", "project": project, "title": "lookonce"}
        basic = {"auth_method": "BASIC_AUTH", "basic_auth_user": "any", "basic_auth_pass": password}
        return self.api.post("/ml", json={**model, **basic})

    def predict(self, project: int) -> None:
        chosen = {"selectedItems": {"all": True, "excluded": []}, "project": str(project)}
        self.call("POST", f"/dm/actions?id=retrieve_tasks_predictions&project={project}", json=chosen)

    def tasks(self, project: int) -> list[dict[str, Any]]:
        found = self.call("GET", f"/tasks?project={project}&fields=all&page_size=100")["tasks"]
        return [self.call("GET", f"/tasks/{task['id']}") for task in found]

    def stop(self) -> None:
        self.api.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    running = LabelStudio(tmp_path_factory.mktemp("studio"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def model(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "dogs.onnx"
    cfg, _, weights, _, classes = fastest(shared)
    export_onnx(cfg, path, weights=weights, classes=classes)
    return path


@pytest.fixture(scope="module")
def service(model: Path, studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    env = {"WEBSERVICE_KEY": KEY, "LABEL_STUDIO_API_KEY": TOKEN}
    folder = tmp_path_factory.mktemp("serve")
    with Serving(folder, model, "--label-studio", studio.url, env=env) as running:
        yield running


Boxes = list[tuple[str, list[float]]]


def expected(model: Path, image: Path) -> Boxes:
    """Label and [x, y, width, height] in percent, of the classes that the project has."""
    found = Detector(model, conf=0.3).detect(image)
    width, height = found.image_size
    names = {"dog": "Dog", "bicycle": "Bike"}
    result = []
    for (left, top, right, bottom), index in zip(found.boxes.tolist(), found.classes.tolist(), strict=True):
        if label := names.get(found.names[index]):
            box = (left / width, top / height, (right - left) / width, (bottom - top) / height)
            result.append((label, [100 * value for value in box]))
    return result


def boxes(task: dict[str, Any]) -> Boxes:
    (prediction,) = task["predictions"]
    values = [one["value"] for one in prediction["result"]]
    return [
        (value["rectanglelabels"][0], [value[name] for name in ("x", "y", "width", "height")])
        for value in values
    ]


def test_a_project_gets_the_models_boxes(
    studio: LabelStudio, service: Serving, model: Path, shared: Path, tmp_path: Path
):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((shared / "images" / "eagle.jpg").read_bytes()[:2000])
    images = [shared / "images" / "dog.jpg", shared / "images" / "eagle.jpg", broken]
    project = studio.project(images)
    connected = studio.connect(project, service)
    assert connected.status_code == 201, connected.text
    studio.predict(project)
    dog, eagle, unread = studio.tasks(project)
    wanted = expected(model, images[0])
    assert {label for label, _ in wanted} == {"Dog", "Bike"}
    for (label, box), (wanted_label, wanted_box) in zip(boxes(dog), wanted, strict=True):
        assert label == wanted_label
        assert box == pytest.approx(wanted_box, abs=0.01)
    one = dog["predictions"][0]["result"][0]
    assert (one["from_name"], one["to_name"], one["type"]) == ("things", "photo", "rectanglelabels")
    assert (one["original_width"], one["original_height"]) == (768, 576)
    version = httpx.get(f"{service.url}/model", headers={"Authorization": f"Bearer {KEY}"}).json()["version"]
    assert dog["predictions"][0]["model_version"] == version
    # No object has a label of the project: the prediction is empty.
    assert eagle["predictions"][0]["result"] == []
    # The unreadable image has no prediction, and the log has the reason.
    assert unread["predictions"] == []
    assert "task not predicted" in service.log.read_text()


def test_a_wrong_key_and_foreign_labels_are_reported(studio: LabelStudio, service: Serving, shared: Path):
    project = studio.project([])
    wrong = studio.connect(project, service, password="wrong")
    assert wrong.status_code == 400
    assert "401" in wrong.text
    foreign = studio.project([], config=CONFIG.replace("Dog", "Cell").replace("bicycle", "platelet"))
    refused = studio.connect(foreign, service)
    assert refused.status_code == 400
    assert "400" in refused.text
    assert re.search(
        r"project's labels \(Bike, Cell\) match none of the model's classes", service.log.read_text()
    )


def test_the_key_that_setup_brings_and_a_personal_access_token(
    studio: LabelStudio, model: Path, shared: Path, tmp_path: Path
):
    token = studio.call("POST", "/token", json={})["token"]
    assert token.count(".") == 2
    project = studio.project([shared / "images" / "dog.jpg"])
    for name, key in (("setup", {}), ("personal", {"LABEL_STUDIO_API_KEY": token})):
        env = {"WEBSERVICE_KEY": KEY, **key}
        with Serving(tmp_path / name, model, "--label-studio", studio.url, env=env) as service:
            if name == "setup":
                assert studio.connect(project, service).status_code == 201
            task = studio.tasks(project)[0]
            request = {"tasks": [task], "label_config": CONFIG}
            reply = httpx.post(
                f"{service.url}/label-studio/predict",
                json=request,
                headers={"Authorization": f"Bearer {KEY}"},
                timeout=60,
            )
            assert reply.status_code == 200
            (result,) = reply.json()["results"]
            assert {one["value"]["rectanglelabels"][0] for one in result["result"]} == {"Dog", "Bike"}
            assert token not in service.log.read_text()
