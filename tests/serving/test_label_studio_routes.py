"""The routes for Label Studio, and the origins that images may be fetched from."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from lookonce.errors import LookonceError
from lookonce.export import export_onnx
from lookonce.serving.server.allowed_images import AllowedImages, FetchError, checked_origin
from serving_process import Serving, fastest

CONFIG = """<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">
<Label value="dog"/></RectangleLabels></View>"""


class Store:
    """A web server with an image, which records the path and key of each request."""

    def __init__(self, image: bytes) -> None:
        self.requests: list[tuple[str, str | None]] = []
        self.targets: dict[str, str] = {}
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                store.requests.append((self.path, self.headers.get("Authorization")))
                if target := store.targets.get(self.path):
                    self.send_response(302)
                    self.send_header("Location", target)
                    self.end_headers()
                    return
                status = {"/secret.jpg": 403, "/gone.jpg": 404}.get(self.path, 200)
                self.send_response(status)
                self.send_header("Content-Length", str(len(image)))
                self.end_headers()
                self.wfile.write(image)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def dog(shared: Path) -> bytes:
    return (shared / "images" / "dog.jpg").read_bytes()


@pytest.fixture
def store(dog: bytes) -> Iterator[Store]:
    running = Store(dog)
    yield running
    running.close()


@pytest.fixture
def elsewhere(dog: bytes) -> Iterator[Store]:
    running = Store(dog)
    yield running
    running.close()


@pytest.fixture(scope="module")
def studio(dog: bytes) -> Iterator[Store]:
    running = Store(dog)
    yield running
    running.close()


@pytest.fixture(scope="module")
def service(shared: Path, studio: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serve")
    cfg, _, weights, _, classes = fastest(shared)
    export_onnx(cfg, folder / "model.onnx", weights=weights, classes=classes)
    with Serving(folder, folder / "model.onnx", "--label-studio", studio.url) as running:
        yield running


def post(service: Serving, route: str, content: Any) -> httpx.Response:
    return httpx.post(f"{service.url}/label-studio/{route}", json=content, timeout=60)


def test_fetch_by_path_by_address_and_from_the_text_itself(store: Store, dog: bytes):
    images = AllowedImages((store.url,), "the-token", 10**6)
    for address in ("/data/dog.jpg", f"{store.url}/dog.jpg?x=1"):
        assert images.fetch(address) == dog
    assert images.fetch("data:image/jpeg;base64," + base64.b64encode(dog).decode()) == dog
    assert [key for _, key in store.requests] == ["Token the-token"] * 2


def test_the_key_goes_to_label_studio_only(store: Store, elsewhere: Store, dog: bytes):
    store.targets["/dog.jpg"] = f"{elsewhere.url}/signed.jpg"
    images = AllowedImages((store.url, elsewhere.url), "the-token", 10**6)
    assert images.fetch("/dog.jpg") == dog
    assert elsewhere.requests == [("/signed.jpg", None)]


def test_nothing_is_fetched_from_elsewhere(store: Store, elsewhere: Store):
    images = AllowedImages((store.url,), None, 10**6)
    store.targets["/away.jpg"] = f"{elsewhere.url}/dog.jpg"
    port = store.url.rpartition(":")[2]
    for address in (
        f"{elsewhere.url}/dog.jpg",
        f"//{elsewhere.url.partition('//')[2]}/dog.jpg",
        "/away.jpg",
        f"http://localhost:{port}/dog.jpg",
        f"https://127.0.0.1:{port}/dog.jpg",
        f"http://127.0.0.1:{port}@{elsewhere.url.partition('//')[2]}/dog.jpg",
        f"{elsewhere.url}\\@127.0.0.1:{port}/dog.jpg",
        "file:///etc/hostname",
        "s3://bucket/dog.jpg",
        "http://[::1/dog.jpg",
        "http://127.0.0.1:99999/dog.jpg",
    ):
        with pytest.raises(FetchError):
            images.fetch(address)
    assert elsewhere.requests == []
    with pytest.raises(FetchError, match="--label-studio URL"):
        AllowedImages((), None, 10**6).fetch("/dog.jpg")


def test_what_else_prevents_fetching_an_image(store: Store):
    images = AllowedImages((store.url,), None, 1000)
    store.targets["/round.jpg"] = "/round.jpg"
    for address, message in {
        "/secret.jpg": "403; set LABEL_STUDIO_API_KEY",
        "/gone.jpg": "404",
        "/dog.jpg?token=secret": "larger than 1,000 bytes",
        "/round.jpg": "redirects",
        "data:image/jpeg,abc": "not base64",
    }.items():
        with pytest.raises(FetchError, match=message) as caught:
            images.fetch(address)
        assert "token" not in str(caught.value)
    store.close()
    with pytest.raises(FetchError, match="cannot be reached"):
        images.fetch("/dog.jpg")


@pytest.mark.parametrize(
    "address", ["localhost:8080", "ftp://x", "http://", "http://u:pass@x", "http://[", ""]
)
def test_invalid_addresses_are_rejected(address: str):
    with pytest.raises(LookonceError, match="not a web address") as caught:
        checked_origin(address)
    assert "pass" not in str(caught.value).partition("without")[0]


def test_each_task_has_its_result(service: Serving, studio: Store):
    tasks = [
        {"id": 1, "data": {"image": "/dog.jpg"}},
        {"id": 2, "data": {"image": "http://169.254.169.254/latest"}},
        {"id": 3, "data": {"text": "no image"}},
        {"id": 4},
        {"id": 5, "data": {"image": 7}},
        {"id": 6, "data": {"image": f"{studio.url}/dog.jpg"}},
        {"id": 7, "data": {"image": "data:image/png;base64,aGVsbG8="}},
    ]
    results = post(service, "predict", {"tasks": tasks, "label_config": CONFIG}).json()["results"]
    assert len(results) == len(tasks)
    first, again = (results[index]["result"][0]["value"] for index in (0, 5))
    assert again["x"] == pytest.approx(first["x"], abs=0.01)
    assert first["rectanglelabels"] == again["rectanglelabels"] == ["dog"]
    assert [results[index] for index in (1, 2, 3, 4, 6)] == [[]] * 5
    log = service.log.read_text()
    assert "http://169.254.169.254 is not among" in log
    assert "no image URL in 'image'" in log


def test_many_tasks_at_once_wait_for_their_places(service: Serving):
    tasks = [{"id": index, "data": {"image": "/dog.jpg"}} for index in range(60)]
    results = post(service, "predict", {"tasks": tasks, "label_config": CONFIG}).json()["results"]
    # Batches of other sizes differ in the last digit.
    assert [one["result"][0]["value"]["x"] for one in results] == pytest.approx(
        [results[0]["result"][0]["value"]["x"]] * 60, abs=0.01
    )


@pytest.mark.parametrize(
    ("route", "content", "message"),
    [
        ("predict", {}, "tasks is missing"),
        ("predict", {"tasks": [1]}, "not a list"),
        ("predict", {"tasks": [], "label_config": "<View/>"}, "no RectangleLabels"),
        ("predict", {"tasks": [], "label_config": 5}, "not a string"),
        ("predict", [], "not a JSON object"),
        ("setup", {"schema": CONFIG.replace('"dog"', '"cell"')}, "none of the model's classes"),
        ("setup", {"schema": "<"}, "not XML"),
        ("webhook", {"action": "START_TRAINING"}, "does not train"),
    ],
)
def test_requests_that_are_refused(service: Serving, route: str, content: Any, message: str):
    reply = post(service, route, content)
    assert reply.status_code == 400
    assert message in reply.json()["error"]


def test_the_other_routes(service: Serving):
    version = httpx.get(f"{service.url}/ready").json()["version"]
    assert httpx.get(f"{service.url}/label-studio/health").json() == {"status": "UP"}
    assert httpx.get(f"{service.url}/label-studio/versions").json() == {"versions": [version]}
    assert post(service, "setup", {"schema": CONFIG}).json() == {"model_version": version}
    assert post(service, "webhook", {"action": "ANNOTATION_CREATED"}).status_code == 200
    # Content types that a foreign web page can send without permission.
    reply = httpx.post(
        f"{service.url}/label-studio/setup", content=b"{}", headers={"Content-Type": "text/plain"}
    )
    assert reply.status_code == 415
