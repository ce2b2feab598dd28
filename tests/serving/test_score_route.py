"""`/score`: every format of requests and responses, compared with Detector; error messages."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from lookonce.inference import Detector
from serving_process import Serving, fastest

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def serving(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("serve"), *fastest(shared), "--max-body", "4") as running:
        yield running


@pytest.fixture(scope="module")
def client(serving: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=serving.url, timeout=30) as opened:
        yield opened


@pytest.fixture(scope="module")
def dog(shared: Path) -> bytes:
    return (shared / "images" / "dog.jpg").read_bytes()


@pytest.fixture(scope="module")
def expected(shared: Path) -> list[dict[str, Any]]:
    model, _, weights, _, classes = fastest(shared)
    found = Detector(model, weights=weights, classes=classes).detect(shared / "images" / "dog.jpg")
    return [found.to_dict("image_0")]


def in_base64(image: bytes) -> str:
    return base64.b64encode(image).decode()


def test_each_form_of_request_gives_the_detectors_boxes(
    client: httpx.Client, dog: bytes, expected: list[dict[str, Any]]
):
    automl = {"input_data": {"columns": ["image"], "data": [in_base64(dog)]}}
    rows = {"input_data": {"columns": ["image"], "index": [0], "data": [[base64.encodebytes(dog).decode()]]}}
    requests: list[dict[str, Any]] = [
        {"content": dog, "headers": JPEG},
        {"content": dog, "headers": {"Content-Type": "application/octet-stream"}},
        {"json": automl},
        {"json": rows},
        {"json": {"data": in_base64(dog)}},
        {"json": {"data": f"data:image/jpeg;base64,{in_base64(dog)}"}},
        {"files": {"file": ("image_0", dog)}},
    ]
    assert len(expected[0]["boxes"]) >= 3
    for request in requests:
        response = client.post("/score", **request)
        assert response.status_code == 200, response.text
        assert response.json() == expected


def test_several_images_come_back_in_order_with_their_names(client: httpx.Client, shared: Path, dog: bytes):
    person = (shared / "images" / "person.jpg").read_bytes()
    files = [("files", ("a dog.jpg", dog)), ("files", ("naïve.jpg", person)), ("files", ("dog2.jpg", dog))]
    responses = client.post("/score", files=files).json()
    assert [response["filename"] for response in responses] == ["a dog.jpg", "naïve.jpg", "dog2.jpg"]
    labels = [{box["label"] for box in response["boxes"]} for response in responses]
    assert "dog" in labels[0]
    assert "person" in labels[1]
    assert labels[0] == labels[2]


def test_the_other_formats_have_the_same_boxes(
    client: httpx.Client, dog: bytes, expected: list[dict[str, Any]]
):
    def fetch(form: str) -> Any:
        return client.post(f"/score?format={form}", content=dog, headers=JPEG).json()

    boxes = expected[0]["boxes"]
    labels = [box["label"] for box in boxes]
    corners = np.array([[box["box"][key] for key in ("topX", "topY", "bottomX", "bottomY")] for box in boxes])
    pixels = corners * [768, 576, 768, 576]

    vision = fetch("custom-vision")["predictions"]
    assert [one["tagName"] for one in vision] == labels
    sides = np.array(
        [[one["boundingBox"][key] for key in ("left", "top", "width", "height")] for one in vision]
    )
    np.testing.assert_allclose(np.c_[sides[:, :2], sides[:, :2] + sides[:, 2:]], corners, atol=2e-6)

    (image,) = fetch("ultralytics")["images"]
    assert image["shape"] == [576, 768]
    assert [one["name"] for one in image["results"]] == labels
    found = [[one["box"][key] for key in ("x1", "y1", "x2", "y2")] for one in image["results"]]
    np.testing.assert_allclose(found, pixels, atol=1e-3)

    old = fetch("predecessor")
    np.testing.assert_allclose(np.array(old["bboxes"])[:, [1, 0, 3, 2]], pixels, atol=1e-3)
    assert old["scores"] == [box["score"] for box in boxes]

    (prediction,) = fetch("labelstudio")["results"]
    values = [region["value"] for region in prediction["result"]]
    assert [value["rectanglelabels"] for value in values] == [[label] for label in labels]
    percent = np.array([[value[key] for key in ("x", "y", "width", "height")] for value in values]) / 100
    np.testing.assert_allclose(np.c_[percent[:, :2], percent[:, :2] + percent[:, 2:]], corners, atol=1e-5)


def test_conf_and_iou_hold_for_the_one_request(client: httpx.Client, dog: bytes):
    def count(query: str) -> int:
        return len(client.post(f"/score{query}", content=dog, headers=JPEG).json()[0]["boxes"])

    assert count("?conf=0.9") < count("") < count("?conf=0.05") < count("?conf=0.05&iou=1")


def test_a_threshold_of_nothing_is_bounded(client: httpx.Client, dog: bytes, expected: list[dict[str, Any]]):
    (response,) = client.post("/score?conf=0&iou=1", content=dog, headers=JPEG).json()
    assert len(response["boxes"]) == 300
    scores = [box["score"] for box in response["boxes"]]
    assert scores == sorted(scores, reverse=True)
    assert all(box in response["boxes"] for box in expected[0]["boxes"])
    assert client.post("/score?conf=0&iou=1&draw=1", content=dog, headers=JPEG).status_code == 200


def test_draw_returns_the_annotated_image(client: httpx.Client, dog: bytes):
    response = client.post("/score?draw=1", content=dog, headers=JPEG)
    assert response.headers["content-type"] == "image/jpeg"
    drawn = np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB"), np.int16)
    plain = np.asarray(Image.open(io.BytesIO(dog)).convert("RGB"), np.int16)
    assert drawn.shape == plain.shape
    changed = np.abs(drawn - plain).max(axis=2) > 60
    assert 0.001 < changed.mean() < 0.2


def test_a_response_has_its_id_stages_and_version(client: httpx.Client, dog: bytes):
    response = client.post("/score", content=dog, headers={**JPEG, "X-Request-ID": "mine-7"})
    assert response.headers["x-request-id"] == "mine-7"
    assert {stage.split(";")[0].strip() for stage in response.headers["server-timing"].split(",")} == {
        "queue",
        "decode",
        "infer",
        "nms",
        "total",
    }
    assert response.headers["x-model-version"] == client.get("/ready").json()["version"]
    assert client.get("/health", headers={"X-Request-ID": "no\tgood"}).headers["x-request-id"] != "no\tgood"


def png_bomb() -> bytes:
    """Return a PNG file of 144 million pixels in 18 KB."""
    drawn = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(drawn, "PNG")
    return drawn.getvalue()


WRONG: list[tuple[str, dict[str, Any], int, str]] = [
    ("no body", {"headers": JPEG}, 400, "empty"),
    ("no type", {"content": b"x", "headers": {"Content-Type": ""}}, 415, "no Content-Type"),
    ("text", {"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "'text/plain'"),
    ("not an image", {"content": b"hello", "headers": JPEG}, 422, "begins with"),
    ("broken JSON", {"content": b'{"data":', "headers": {"Content-Type": "application/json"}}, 400, "JSON"),
    ("deep JSON", {"content": b"[" * 200_000, "headers": {"Content-Type": "application/json"}}, 400, "JSON"),
    (
        "digits",
        {"content": b"9" * 9999, "headers": {"Content-Type": "application/json"}},
        400,
        "JSON",
    ),
    ("a list", {"json": [1]}, 400, "not an object"),
    ("no data", {"json": {"image": ""}}, 400, "neither input_data nor data"),
    ("no base64", {"json": {"data": "%%%"}}, 400, "not base64"),
    ("empty base64", {"json": {"data": ""}}, 400, "empty"),
    ("a number", {"json": {"data": [3]}}, 400, "not a string"),
    ("no rows", {"json": {"input_data": {"columns": ["image"]}}}, 400, "no list"),
    ("empty list", {"json": {"input_data": {"data": []}}}, 400, "no image"),
    ("many", {"json": {"data": ["AAAA"] * 33}}, 413, "at most 32"),
    ("large", {"content": b"x" * (4 * 2**20 + 1), "headers": JPEG}, 413, "4,194,304 bytes"),
    ("bomb", {"content": png_bomb(), "headers": {"Content-Type": "image/png"}}, 413, "12000 x 12000"),
    ("conf", {"params": {"conf": "2"}, "content": b"x", "headers": JPEG}, 400, "conf is '2'"),
    ("nan", {"params": {"iou": "nan"}, "content": b"x", "headers": JPEG}, 400, "iou is 'nan'"),
    ("format", {"params": {"format": "xml"}, "content": b"x", "headers": JPEG}, 400, "ultralytics"),
    ("parameter", {"params": {"confidence": "1"}, "content": b"x", "headers": JPEG}, 400, "'confidence'"),
    ("draw", {"params": {"draw": "maybe"}, "content": b"x", "headers": JPEG}, 400, "draw is 'maybe'"),
    (
        "no boundary",
        {"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}},
        400,
        "boundary",
    ),
    ("fields", {"files": [("a", (None, "b"))] * 70}, 400, "64 fields"),
    ("no file", {"files": [("a", (None, "b"))]}, 400, "no image"),
    ("empty file", {"files": [("a", ("a.jpg", b""))]}, 400, "a.jpg"),
]


@pytest.mark.parametrize(
    ("request_", "status", "message"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG]
)
def test_invalid_requests_get_one_message(
    client: httpx.Client, request_: dict[str, Any], status: int, message: str
):
    response = client.post("/score", **request_)
    assert response.status_code == status, response.text
    content = response.json()
    assert message in content["error"]
    assert content["request_id"] == response.headers["x-request-id"]
    assert "/" not in content["error"].replace("image/", "").replace("application/", "").replace(
        "multipart/", ""
    ).replace("text/", "")


def test_one_bad_image_of_several_is_named(client: httpx.Client, dog: bytes):
    response = client.post("/score", json={"input_data": {"data": [in_base64(dog), in_base64(b"no image")]}})
    assert response.status_code == 422
    assert response.json()["error"].startswith("image_1: ")


def test_several_images_cannot_be_drawn_at_once(client: httpx.Client, dog: bytes):
    response = client.post("/score?draw=1", files=[("f", ("a", dog)), ("f", ("b", dog))])
    assert response.status_code == 400
    assert "one by one" in response.json()["error"]


def test_a_compressed_body_is_refused(client: httpx.Client, dog: bytes):
    response = client.post("/score", content=gzip.compress(dog), headers={**JPEG, "Content-Encoding": "gzip"})
    assert response.status_code == 415
    assert "gzip" in response.json()["error"]


def test_unknown_routes_and_methods_respond_in_json(client: httpx.Client):
    assert (client.get("/nothing").status_code, client.get("/score").status_code) == (404, 405)
    assert "request_id" in client.get("/nothing").json()
    assert client.get("/score").headers["allow"] == "POST"


def test_the_log_is_json_and_names_no_path(serving: Serving, client: httpx.Client, dog: bytes):
    client.post("/score", content=b"x", headers=JPEG)
    text = serving.log.read_text()
    events = [json.loads(line) for line in text.splitlines()]
    assert {"ready", "request"} <= {event["event"] for event in events}
    assert "Traceback" not in text
    assert "/usr" not in text
    assert str(serving.log.parent) not in text


def test_metrics_count_requests_stages_and_batches(client: httpx.Client, dog: bytes):
    def figure(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    names = (
        'lookonce_requests_total{route="/score",status="200"}',
        'lookonce_stage_seconds_count{stage="infer"}',
        "lookonce_batch_images_count",
        'lookonce_images_total{result="detected"}',
    )
    before = [figure(name) for name in names]
    client.post("/score", content=dog, headers=JPEG)
    assert [after - earlier for after, earlier in zip(map(figure, names), before, strict=True)] == [
        1,
        1,
        1,
        1,
    ]
    assert figure("lookonce_queue_images") == 0
