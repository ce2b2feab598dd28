"""The queue, the batches and the replacement of a model, without a network around them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lookonce.core.detections import Detections
from lookonce.errors import LookonceError
from lookonce.export import export_onnx
from lookonce.inference import Detector
from lookonce.io.images import ImageError
from lookonce.serving.server.replies import Refusal
from lookonce.serving.server.service import RequestResult, Service
from lookonce.serving.server.settings import Settings
from lookonce.serving.server.uploads import Upload
from serving_process import fastest


@pytest.fixture(scope="module")
def settings(shared: Path) -> Settings:
    model, _, weights, _, classes = map(str, fastest(shared))
    return Settings(model, weights, classes)


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    opened = Service(settings)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def images(shared: Path) -> list[Upload]:
    return [Upload(path.name, path.read_bytes()) for path in sorted((shared / "images").glob("*.jpg"))]


def hold(service: Service, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The network waits for the event from now on."""
    model, go = service.model, threading.Event()
    for detector in {model.detector, model.single_image}:

        def held(batch: np.ndarray, infer: Callable[[np.ndarray], object] = detector.infer) -> object:
            assert go.wait(20)
            return infer(batch)

        monkeypatch.setattr(detector, "infer", held)
    return go


def boxes(result: RequestResult) -> list[list[list[float]]]:
    assert all(isinstance(answer, Detections) for answer in result.outcomes)
    return [answer.boxes.tolist() for answer in result.outcomes if isinstance(answer, Detections)]


def test_many_requests_at_once_each_get_their_own(service: Service, images: list[Upload], shared: Path):
    alone = [boxes(service.submit([one]).result(20))[0] for one in images]
    futures = [service.submit([images[index % len(images)]]) for index in range(40)]
    for index, future in enumerate(futures):
        np.testing.assert_allclose(boxes(future.result(20))[0], alone[index % len(images)], atol=0.05)


def test_what_waits_runs_as_one_batch(
    service: Service, images: list[Upload], monkeypatch: pytest.MonkeyPatch
):
    sizes: list[int] = []
    go = hold(service, monkeypatch)
    held = service.model.detector.infer
    monkeypatch.setattr(
        service.model.detector, "infer", lambda batch: (sizes.append(len(batch)), held(batch))[1]
    )
    futures = [service.submit([images[0]]) for _ in range(30)]
    while service._decoding:
        time.sleep(0.01)
    go.set()
    for future in futures:
        future.result(20)
    assert sum(sizes) == 30
    assert 3 < max(sizes) <= service.settings.max_batch


def test_each_request_has_its_own_thresholds_within_a_batch(service: Service, images: list[Upload]):
    futures = [service.submit([images[0]], conf, iou) for conf in (0.05, 0.3, 0.9) for iou in (0.3, 1.0)]
    counts = [len(boxes(future.result(20))[0]) for future in futures]
    assert counts[0] < counts[1]
    assert counts[0] > counts[2] >= counts[4]
    assert len(set(counts)) > 3


def test_a_full_queue_refuses_at_once_and_recovers(
    settings: Settings, images: list[Upload], monkeypatch: pytest.MonkeyPatch
):
    service = Service(replace(settings, max_queue=6))
    go = hold(service, monkeypatch)
    inside = [service.submit(images[:2]) for _ in range(3)]
    with pytest.raises(Refusal, match="queue is full") as refusal:
        service.submit(images[:1])
    assert (refusal.value.status, refusal.value.retry_after) == (503, 1)
    go.set()
    for future in inside:
        future.result(20)
    service.submit(images[:6]).result(20)
    service.close()


def test_a_request_past_its_deadline_is_told(
    settings: Settings, images: list[Upload], monkeypatch: pytest.MonkeyPatch
):
    service = Service(replace(settings, deadline_seconds=0.3, lanes=1))
    go = hold(service, monkeypatch)
    first = service.submit([images[0]])
    time.sleep(0.2)
    late = [service.submit([images[0], images[1]]) for _ in range(2)]
    time.sleep(0.4)
    go.set()
    assert boxes(first.result(20))
    for future in late:
        with pytest.raises(Refusal, match=r"within 0\.3 seconds"):
            future.result(20)
    assert service._in_flight == 0
    service.close()


def test_a_lone_image_has_all_cores_and_gets_the_same_answer(settings: Settings, images: list[Upload]):
    service = Service(replace(settings, lanes=2))
    ran: list[str] = []
    for name in ("detector", "alone"):
        detector = getattr(service.model, name)
        detector.infer = lambda batch, name=name, infer=detector.infer: (ran.append(name), infer(batch))[1]
    (first,) = boxes(service.submit(images[:1]).result(20))
    several = boxes(service.submit(images[:1] * 4).result(20))
    assert ran[0] == "alone"
    assert "detector" in ran
    service.close()
    np.testing.assert_allclose(several, [first] * 4, atol=0.05)


def test_an_unreadable_image_leaves_the_others(service: Service, images: list[Upload]):
    result = service.submit([images[0], Upload("bad", b"bad"), images[1]]).result(20)
    assert [isinstance(answer, ImageError) for answer in result.outcomes] == [False, True, False]


def test_a_fault_answers_and_gives_the_place_back(
    service: Service, images: list[Upload], monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(service.model.detector, "infer", broken)
        with pytest.raises(RuntimeError):
            service.submit(images[:3]).result(20)
    assert boxes(service.submit(images[:1]).result(20))
    until = time.monotonic() + 5
    while service._in_flight and time.monotonic() < until:
        time.sleep(0.01)
    assert service._in_flight == 0


def test_closing_answers_what_is_inside_and_takes_no_more(settings: Settings, images: list[Upload]):
    service = Service(settings)
    inside = [service.submit([one]) for one in images * 3]
    service.close()
    assert all(boxes(future.result(0)) for future in inside)
    with pytest.raises(Refusal, match="shutting down"):
        service.submit(images[:1])


@pytest.fixture
def onnx_file(settings: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    assert settings.weights
    export_onnx(settings.model_path, path, weights=settings.weights, classes=settings.classes)
    return path


def test_reload_takes_the_new_file_and_keeps_answering(
    onnx_file: Path, settings: Settings, images: list[Upload], monkeypatch: pytest.MonkeyPatch
):
    service = Service(Settings(str(onnx_file)))
    before = service.model
    assert service.reload() == before.version
    assert service.model is before

    go = hold(service, monkeypatch)
    waiting: Future[RequestResult] = service.submit(images[:1])
    export_onnx(settings.model_path, onnx_file, weights=settings.weights, classes=settings.classes, nms=True)
    version = service.reload()
    assert version == service.model.version != before.version
    new = service.submit(images[:1])
    go.set()
    assert waiting.result(20).model is before
    assert new.result(20).model is service.model
    with pytest.raises(Refusal, match="NMS inside"):
        service.submit(images[:1], iou=0.5)

    onnx_file.write_bytes(b"half a file")
    with pytest.raises(LookonceError, match=rf"^model\.onnx.*Still serving version {version}"):
        service.reload()
    assert boxes(service.submit(images[:1]).result(20))
    service.close()


def test_arrays_are_looked_at_as_their_files_are(service: Service, images: list[Upload], shared: Path):
    from lookonce.io.images import decode_image

    pixels = decode_image(images[0].content, "it")
    direct = Detector(service.settings.model_path, service.settings.weights, service.settings.classes).detect(
        pixels
    )
    result = service.submit([pixels, images[0]], keep=True).result(20)
    first, second = boxes(result)
    np.testing.assert_allclose(first, second)
    np.testing.assert_allclose(first, direct.boxes, atol=0.05)
    assert result.images[1] is not None
    np.testing.assert_array_equal(result.images[1], pixels)
