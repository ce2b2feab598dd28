"""The request queue, batches and reloading of a model, without HTTP."""

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


# Far above what anything here takes: only a deadlock reaches it.
PATIENCE = 60


def wait_until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def hold(service: Service, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Make the network wait for the returned event from now on."""
    model, go = service.model, threading.Event()
    for detector in {model.detector, model.single_image}:

        def held(batch: np.ndarray, infer: Callable[[np.ndarray], object] = detector.infer) -> object:
            assert go.wait(PATIENCE)
            return infer(batch)

        monkeypatch.setattr(detector, "infer", held)
    return go


def boxes(result: RequestResult) -> list[list[list[float]]]:
    assert all(isinstance(outcome, Detections) for outcome in result.outcomes)
    return [outcome.boxes.tolist() for outcome in result.outcomes if isinstance(outcome, Detections)]


def test_concurrent_requests_each_get_their_own_result(service: Service, images: list[Upload], shared: Path):
    single = [boxes(service.submit([one]).result(PATIENCE))[0] for one in images]
    futures = [service.submit([images[index % len(images)]]) for index in range(40)]
    for index, future in enumerate(futures):
        np.testing.assert_allclose(boxes(future.result(PATIENCE))[0], single[index % len(images)], atol=0.05)


def test_pending_images_run_as_one_batch(
    service: Service, images: list[Upload], monkeypatch: pytest.MonkeyPatch
):
    sizes: list[int] = []
    go = hold(service, monkeypatch)
    held = service.model.detector.infer
    monkeypatch.setattr(
        service.model.detector, "infer", lambda batch: (sizes.append(len(batch)), held(batch))[1]
    )
    futures = [service.submit([images[0]]) for _ in range(30)]
    wait_until(lambda: not service.images_decoding)
    go.set()
    for future in futures:
        future.result(PATIENCE)
    assert sum(sizes) == 30
    assert 3 < max(sizes) <= service.settings.max_batch


def test_each_request_has_its_own_thresholds_within_a_batch(service: Service, images: list[Upload]):
    futures = [service.submit([images[0]], conf, iou) for conf in (0.05, 0.3, 0.9) for iou in (0.3, 1.0)]
    counts = [len(boxes(future.result(PATIENCE))[0]) for future in futures]
    assert counts[0] < counts[1]
    assert counts[0] > counts[2] >= counts[4]
    assert len(set(counts)) > 3


def test_a_full_queue_refuses_at_once_and_recovers(
    settings: Settings, images: list[Upload], monkeypatch: pytest.MonkeyPatch
):
    service = Service(replace(settings, max_queue=6))
    go = hold(service, monkeypatch)
    in_flight = [service.submit(images[:2]) for _ in range(3)]
    with pytest.raises(Refusal, match="queue is full") as refusal:
        service.submit(images[:1])
    assert (refusal.value.status, refusal.value.retry_after) == (503, 1)
    go.set()
    for future in in_flight:
        future.result(PATIENCE)
    service.submit(images[:6]).result(PATIENCE)
    service.close()


def test_a_request_past_its_deadline_is_refused(
    settings: Settings, images: list[Upload], monkeypatch: pytest.MonkeyPatch
):
    service = Service(replace(settings, deadline_seconds=2, lanes=1))
    go, entered = hold(service, monkeypatch), threading.Event()
    held = service.model.detector.infer
    monkeypatch.setattr(service.model.detector, "infer", lambda batch: (entered.set(), held(batch))[1])
    first = service.submit([images[0]])
    assert entered.wait(PATIENCE)
    late = [service.submit([images[0], images[1]]) for _ in range(2)]
    time.sleep(2.1)
    go.set()
    assert boxes(first.result(PATIENCE))
    for future in late:
        with pytest.raises(Refusal, match="within 2 seconds"):
            future.result(PATIENCE)
    wait_until(lambda: not service.images_in_flight)
    service.close()


def test_a_single_image_uses_all_cores_and_gets_the_same_boxes(settings: Settings, images: list[Upload]):
    service = Service(replace(settings, lanes=2))
    ran: list[str] = []
    for name in ("detector", "single_image"):
        detector = getattr(service.model, name)
        detector.infer = lambda batch, name=name, infer=detector.infer: (ran.append(name), infer(batch))[1]
    (first,) = boxes(service.submit(images[:1]).result(PATIENCE))
    several = boxes(service.submit(images[:1] * 4).result(PATIENCE))
    assert ran[0] == "single_image"
    assert "detector" in ran
    service.close()
    np.testing.assert_allclose(several, [first] * 4, atol=0.05)


def test_an_unreadable_image_leaves_the_others(service: Service, images: list[Upload]):
    result = service.submit([images[0], Upload("bad", b"bad"), images[1]]).result(PATIENCE)
    assert [isinstance(outcome, ImageError) for outcome in result.outcomes] == [False, True, False]


def test_a_fault_completes_the_request_and_frees_its_place(
    service: Service, images: list[Upload], monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(service.model.detector, "infer", broken)
        with pytest.raises(RuntimeError):
            service.submit(images[:3]).result(PATIENCE)
    assert boxes(service.submit(images[:1]).result(PATIENCE))
    wait_until(lambda: not service.images_in_flight)


def test_closing_finishes_requests_in_flight_and_refuses_others(settings: Settings, images: list[Upload]):
    service = Service(settings)
    in_flight = [service.submit([one]) for one in images * 3]
    service.close()
    assert all(boxes(future.result(0)) for future in in_flight)
    with pytest.raises(Refusal, match="shutting down"):
        service.submit(images[:1])


@pytest.fixture
def onnx_file(settings: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    assert settings.weights
    export_onnx(settings.model_path, path, weights=settings.weights, classes=settings.classes)
    return path


def test_reload_serves_the_new_file_and_keeps_responding(
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
    assert waiting.result(PATIENCE).model is before
    assert new.result(PATIENCE).model is service.model
    with pytest.raises(Refusal, match="NMS inside"):
        service.submit(images[:1], iou=0.5)

    onnx_file.write_bytes(b"half a file")
    with pytest.raises(LookonceError, match=rf"^model\.onnx.*Still serving version {version}"):
        service.reload()
    assert boxes(service.submit(images[:1]).result(PATIENCE))
    service.close()


def test_arrays_give_the_same_boxes_as_their_files(service: Service, images: list[Upload], shared: Path):
    from lookonce.io.images import decode_image

    pixels = decode_image(images[0].content, "it")
    direct = Detector(service.settings.model_path, service.settings.weights, service.settings.classes).detect(
        pixels
    )
    result = service.submit([pixels, images[0]], keep=True).result(PATIENCE)
    first, second = boxes(result)
    np.testing.assert_allclose(first, second)
    np.testing.assert_allclose(first, direct.boxes, atol=0.05)
    assert result.images[1] is not None
    np.testing.assert_array_equal(result.images[1], pixels)
