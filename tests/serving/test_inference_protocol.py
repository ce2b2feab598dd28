"""The Open Inference Protocol, tested with Triton's client."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from lookonce.core.detections import Detections
from lookonce.inference import Detector
from lookonce.io.images import read_image
from serving_process import Serving, fastest

MODEL = "yolo-fastest-1.1"


@pytest.fixture(scope="module")
def serving(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("v2"), *fastest(shared)) as running:
        yield running


@pytest.fixture(scope="module")
def client(serving: Serving) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(serving.url.removeprefix("http://"), network_timeout=30) as opened:
        yield opened


@pytest.fixture(scope="module")
def expected(shared: Path) -> list[Detections]:
    model, _, weights, _, classes = fastest(shared)
    detector = Detector(model, weights=weights, classes=classes)
    return [detector.detect(shared / "images" / name) for name in ("dog.jpg", "person.jpg")]


def files(shared: Path) -> list[bytes]:
    return [(shared / "images" / name).read_bytes() for name in ("dog.jpg", "person.jpg")]


def check(response: triton.InferResult, expected: list[Detections]) -> None:
    images = response.as_numpy("images")
    for index, found in enumerate(expected):
        mine = images == index
        np.testing.assert_allclose(response.as_numpy("boxes")[mine], found.boxes, atol=0.05)
        np.testing.assert_allclose(response.as_numpy("scores")[mine], found.scores, atol=1e-4)
        np.testing.assert_array_equal(response.as_numpy("classes")[mine], found.classes)
        labels = [
            str(one, "utf-8") if isinstance(one, bytes) else one for one in response.as_numpy("labels")[mine]
        ]
        assert labels == [found.names[label] for label in found.classes]


def test_the_client_finds_server_and_model(client: triton.InferenceServerClient, serving: Serving):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    version = httpx.get(f"{serving.url}/ready").json()["version"]
    assert client.is_model_ready(MODEL, version)
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata(MODEL)
    assert metadata["versions"] == [version]
    assert [one["name"] for one in metadata["inputs"]] == ["image"]
    assert client.get_model_repository_index()[0]["state"] == "READY"
    client.load_model(MODEL)
    with pytest.raises(triton.InferenceServerException, match="no model of this name"):
        client.get_model_metadata("other")
    with pytest.raises(triton.InferenceServerException, match="one model"):
        client.unload_model(MODEL)


@pytest.mark.parametrize("binary_output", [True, False])
def test_image_files_as_bytes(
    client: triton.InferenceServerClient, shared: Path, expected: list[Detections], binary_output: bool
):
    given = triton.InferInput("image", [2], "BYTES")
    given.set_data_from_numpy(np.array(files(shared), object), binary_data=True)
    names = ("boxes", "scores", "classes", "labels", "images")
    requested = [triton.InferRequestedOutput(name, binary_data=binary_output) for name in names]
    response = client.infer(MODEL, [given], outputs=requested, request_id="seven")
    check(response, expected)
    assert response.get_response()["id"] == "seven"


@pytest.mark.parametrize("binary", [True, False])
def test_pixels_as_uint8(
    client: triton.InferenceServerClient, shared: Path, expected: list[Detections], binary: bool
):
    pixels = read_image(shared / "images" / "dog.jpg")
    given = triton.InferInput("image", list(pixels.shape), "UINT8")
    given.set_data_from_numpy(pixels, binary_data=binary)
    check(client.infer(MODEL, [given]), expected[:1])


def test_json_alone_as_the_protocol_has_it(serving: Serving, shared: Path, expected: list[Detections]):
    data = [base64.b64encode(file).decode() for file in files(shared)]
    request_ = {
        "inputs": [{"name": "image", "shape": [2], "datatype": "BYTES", "data": data}],
        "outputs": [{"name": "scores"}, {"name": "images"}],
        "parameters": {"conf": 0.6},
    }
    response = httpx.post(f"{serving.url}/v2/models/{MODEL}/infer", json=request_).json()
    assert [output["name"] for output in response["outputs"]] == ["scores", "images"]
    scores, images = (output["data"] for output in response["outputs"])
    assert len(scores) == sum(int((found.scores > 0.6).sum()) for found in expected)
    assert min(scores) > 0.6
    assert response["outputs"][0]["shape"] == [len(scores)] == [len(images)]


def image(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["AAAA"], **changes}]}


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ([], 400, "expected one input"),
        ({"inputs": []}, 400, "expected one input"),
        (image(name="x"), 400, "expected one input"),
        (image(shape=[0]), 400, "shape is [0]"),
        (image(shape=[2]), 400, "shape says 2"),
        (image(shape=[1, 1]), 400, "BYTES [1, 1]"),
        (image(datatype="FP32"), 400, "FP32"),
        (image(data=[7]), 400, "base64"),
        (image(), 422, "begins with"),
        (image(shape=[99]), 413, "at most 32"),
        (image(datatype="UINT8", shape=[1, 1, 3], data=[1, 2]), 400, "got 2"),
        (image(datatype="UINT8", shape=[1, 1, 3], data=[1, 2, 300]), 400, "0 to 255"),
        (image(datatype="UINT8", shape=[1, 1, 3], data=[1, 2, 0.5]), 400, "0 to 255"),
        (image(datatype="UINT8", shape=[1, 1, 3], data=[[1, 2], [3]]), 400, "nested like shape"),
        (image(datatype="UINT8", shape=[1, 1, 4], data=[1, 2, 3, 4]), 400, "4 channels"),
        (image(datatype="UINT8", shape=[99999, 99999, 3], data=[1]), 413, "99999 x 99999"),
        ({**image(), "outputs": [{"name": "heads"}]}, 400, "no 'heads'"),
        ({**image(), "parameters": {"conf": "high"}}, 400, "conf is 'high'"),
        ({**image(), "id": 5}, 400, "id"),
    ],
)
def test_wrong_requests_are_reported(serving: Serving, request_: Any, status: int, message: str):
    response = httpx.post(f"{serving.url}/v2/models/{MODEL}/infer", json=request_)
    assert response.status_code == status, response.text
    assert message in response.json()["error"]


@pytest.mark.parametrize("length", ["-1", "0", "x", "99999999", "1" * 30])
def test_a_wrong_header_length_is_reported(serving: Serving, length: str):
    response = httpx.post(
        f"{serving.url}/v2/models/{MODEL}/infer",
        content=json.dumps(image()).encode(),
        headers={"Inference-Header-Content-Length": length},
    )
    assert response.status_code == 400
    assert "Inference-Header-Content-Length" in response.json()["error"]


@pytest.mark.parametrize("block", [b"", b"\x05\0\0", b"\x05\0\0\0abc", b"\xff\xff\xff\xffabc", b"\0\0\0\0x"])
def test_binary_text_with_wrong_lengths_is_reported(serving: Serving, block: bytes):
    described = {"name": "image", "shape": [1], "datatype": "BYTES"}
    header = json.dumps({"inputs": [{**described, "parameters": {"binary_data_size": len(block)}}]}).encode()
    response = httpx.post(
        f"{serving.url}/v2/models/{MODEL}/infer",
        content=header + block,
        headers={"Inference-Header-Content-Length": str(len(header))},
    )
    assert response.status_code == 400
