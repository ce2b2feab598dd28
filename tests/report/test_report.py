"""report.html: content, accessibility, size limits, and escaping of hostile names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from lookonce.core.detections import Detections
from lookonce.evaluation import GroundTruth
from lookonce.evaluation.score_calibration import calibrate
from lookonce.labels.demo_set import make_demo_set
from lookonce.report.page import report_page, write_report
from lookonce.runs.record import RunRecord, Stopwatch, read_start, read_times
from page_browser import CONTRAST, chromium
from report_case import facts, write_set
from report_pages import Elements, assert_self_contained, visit

ALWAYS = ["summary", "curves", "anchors", "batches", "data", "labels", "settings", "machine"]
MEASURED = ["classes", "confusion", "calibration", "images"]
MOST_BYTES = 6_000_000
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(2)'>",
    "W" * 300,
    "{{7*7}} \u202e' </style></svg>",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    return write_report(facts(write_set(folder / "set"), folder))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    data = write_set(folder / "<b>set", HOSTILE, files='"><img src=x onerror=alert(3)>')
    return write_report(facts(data, folder))


def train(data: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lookonce", "train", str(data), "--out", str(out), "--epochs", "2"]
    command += ["--size", "64x96", "--bs", "4", "--no-track", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_set(tmp_path_factory.mktemp("set"), images=12, seed=3)


def test_train_writes_report_record_and_times(data: Path, tmp_path: Path):
    done = train(data, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in done.stdout
    content = (tmp_path / "run" / "report.html").read_text()
    sections = [one.get("id") for one in Elements(content).of("section")]
    assert sorted(map(str, sections)) == sorted(ALWAYS + MEASURED)
    assert_self_contained(content)
    record = RunRecord.read(tmp_path / "run")
    assert record is not None
    assert record.parameters == 8_674_496
    assert record.settings["augmentation.flip"] is True
    assert {key: record.data[key]["images"] for key in ("train", "val")} == {"train": 10, "val": 2}
    times = read_times(tmp_path / "run")
    assert [one.epoch for one in times] == [1, 2]
    assert all(one.seconds > one.validation > 0 for one in times)
    assert "second" not in (tmp_path / "run" / "metrics.csv").read_text()


def test_failing_report_gives_one_line_and_keeps_the_model(data: Path, tmp_path: Path):
    # A file cannot replace a folder of the same name.
    (tmp_path / "run" / "report.html").mkdir(parents=True)
    done = train(data, tmp_path / "run", "--val-split", "none")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "report could not be written" in line]
    assert len(lines) == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert (tmp_path / "run" / "model.keras").exists()
    assert (tmp_path / "run" / "model.weights").exists()


def test_every_part_is_there_with_its_figures(plain: Path):
    content = plain.read_text()
    elements = Elements(content)
    assert [one["id"] for one in elements.of("section")] == [
        *ALWAYS[:2],
        *MEASURED,
        *ALWAYS[2:],
    ]
    for words in (
        "not used for training",
        "best 0.300, epoch 3",
        "Expected calibration error",
        "no area",
        "augmentation.hue",
        "2.5 s",
        "Average IoU",
        "2026-01-02",
    ):
        assert words in elements.text, words
    # All 4 validation images and the training batch of 4.
    assert len(elements.of("img")) == 4 + 4
    assert str(facts_digest(plain)) in elements.text


def facts_digest(path: Path) -> str:
    """Compute the fingerprint of the training labels independently."""
    return str(facts(path.parent / "set", path.parent).record.data["train"]["sha256"])


def test_page_is_self_contained(plain: Path, hostile: Path):
    assert_self_contained(plain.read_text())
    assert_self_contained(hostile.read_text())


def test_hostile_names_are_escaped(hostile: Path, browser: Browser):
    page, messages = visit(browser, hostile, 1200)
    page.wait_for_timeout(300)
    assert messages == []
    assert page.locator("img[src=x], script, [onerror]").count() == 0
    shown = page.inner_text("#classes")
    assert "<script>alert(1)</script>" in shown
    assert "{{7*7}}" in shown
    assert "onerror=alert(3)" in page.inner_text("#images")
    assert "W" * 100 not in page.inner_text("body")


def test_images_charts_and_tables_have_text_for_screen_readers(plain: Path):
    elements = Elements(plain.read_text())
    assert all(len(str(one.get("alt"))) > 20 for one in elements.of("img"))
    charts = [one for one in elements.of("svg") if "chart" in str(one.get("class"))]
    assert len(charts) >= 6
    assert all(one.get("role") == "img" and len(str(one.get("aria-label"))) > 20 for one in charts)
    assert all(one.get("aria-hidden") for one in elements.of("svg") if one not in charts)
    assert all(one.get("scope") in ("col", "row") for one in elements.of("th"))
    assert len(elements.of("caption")) == len(elements.of("table"))
    assert elements.of("html")[0]["lang"] == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_page_fits_a_phone(name: str, scheme: Any, browser: Browser, request: pytest.FixtureRequest):
    page, messages = visit(browser, request.getfixturevalue(name), 375, color_scheme=scheme)
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert [one for one in page.evaluate(CONTRAST) if not one["enough"]] == []
    # Font size of charts, in pixels of the window.
    sizes = page.evaluate(
        "[...document.querySelectorAll('.chart')].map((one) => parseFloat(getComputedStyle(one).fontSize)"
        " * one.getBoundingClientRect().width / one.viewBox.baseVal.width)"
    )
    assert min(sizes) > 10
    assert messages == []


@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_nothing_is_cut_off_in_print(name: str, browser: Browser, request: pytest.FixtureRequest):
    # A4 without margins.
    page, _ = visit(browser, request.getfixturevalue(name), 700)
    page.emulate_media(media="print", color_scheme="dark")
    wide = page.evaluate(
        "[...document.querySelectorAll('table, figure, dl')]"
        ".filter((one) => one.getBoundingClientRect().right > 701).map((one) => one.className)"
    )
    assert wide == []
    colours = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    assert page.evaluate(colours) == ["rgb(255, 255, 255)", "rgb(18, 22, 29)"]
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    assert len(page.pdf(format="A4")) > 10_000


def test_report_without_validation_images(tmp_path: Path):
    elements = Elements(report_page(facts(write_set(tmp_path / "set"), tmp_path, validated=False)))
    assert [one["id"] for one in elements.of("section")] == ALWAYS
    assert "No validation images were used" in elements.text
    assert "best epoch, not" not in elements.text
    assert "validation objects" not in elements.text


def test_one_class_and_one_epoch(tmp_path: Path):
    elements = Elements(report_page(facts(write_set(tmp_path / "set", ["fox"]), tmp_path, epochs=1)))
    assert [one["id"] for one in elements.of("section")][2:6] == MEASURED
    assert "that detects fox." in elements.text


def test_report_without_detections(tmp_path: Path, browser: Browser):
    nothing = facts(write_set(tmp_path / "set"), tmp_path, detections=False)
    path = write_report(nothing)
    text = Elements(path.read_text()).text
    assert "detects nothing in 4 validation images" in text
    assert "No detection scores above 0.1" in text
    page, messages = visit(browser, path, 375)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert messages == []
    assert "nan" not in text.lower()


def test_curves_skip_non_finite_values_and_include_learning_rate(tmp_path: Path):
    rows = [
        {"epoch": 1, "loss": float("nan"), "learning_rate": 0.001},
        {"epoch": 2, "loss": 2e9, "val_map": float("nan"), "learning_rate": 0.002},
        {"epoch": 3, "loss": 4.0, "val_map": 0.4, "learning_rate": 0.0001},
        {"epoch": 4, "loss": float("inf")},
    ]
    content = report_page(facts(write_set(tmp_path / "set"), tmp_path, rows=rows))
    assert "Learning rate by epoch: at most 0.002" in content
    paths = re.findall(r' d="([^"]*)"', content)
    assert not any("nan" in path or "inf" in path for path in paths)
    without = report_page(facts(tmp_path / "set", tmp_path))
    assert "Learning rate" not in without


def test_batches_match_those_of_training(tmp_path: Path):
    run = facts(write_set(tmp_path / "set"), tmp_path, mosaic=1.0)
    assert run.batches is not None
    run.batches.epoch = 4
    elements = Elements(report_page(run))
    assert run.batches.epoch == 4
    alts = [str(one["alt"]) for one in elements.of("img") if "Augmented" in str(one["alt"])]
    run.batches.epoch = 0
    boxes = [int((rows[:, 2] > 0).sum()) for rows in run.batches[0][1]]
    assert [int(alt.split(" with ")[1].split()[0]) for alt in alts[:4]] == boxes
    # Closing epochs have no mosaic, so a batch of those is shown as well.
    assert sum("epoch 5" in alt for alt in alts) == 4


def test_missing_training_image_is_reported(tmp_path: Path):
    run = facts(write_set(tmp_path / "set"), tmp_path)
    for path in (tmp_path / "set" / "JPEGImages").iterdir():
        path.unlink()
    text = Elements(report_page(run)).text
    assert "not available" in text
    assert "image00.jpg" in text


def test_large_noisy_images_with_many_boxes_stay_within_the_size_limit(tmp_path: Path):
    # At this size images are not scaled down, so the noise compresses badly.
    data = write_set(tmp_path / "set", ["fox"], 36, 900, size=(520, 390))
    path = write_report(facts(data, tmp_path, mosaic=1.0))
    elements = Elements(path.read_text())
    assert len(elements.of("img")) >= 12 + 8
    assert max(len(str(one["src"])) for one in elements.of("img")) < 125_000
    assert max(str(one["d"]).count("z") for one in elements.of("path")) == 600
    assert 500_000 < path.stat().st_size < MOST_BYTES


def test_hundreds_of_classes_stay_within_the_size_limit(tmp_path: Path, browser: Browser):
    names = [f"species number {index} with a long name" for index in range(300)]
    path = write_report(facts(write_set(tmp_path / "set", names, 100, 6), tmp_path))
    assert path.stat().st_size < MOST_BYTES
    page, messages = visit(browser, path, 375)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.locator("#confusion tbody tr").count() == 17
    assert "more are left out" in page.inner_text("#confusion")
    assert messages == []


def one_box(scores: list[float], correct: list[bool]) -> tuple[list[GroundTruth], list[Detections]]:
    """Create one image per score with one object; false detections lie beside it."""
    ground_truth, detections = [], []
    for score, hit in zip(scores, correct, strict=True):
        box = np.array([[10, 10, 50, 50]], np.float32)
        ground_truth.append(GroundTruth(box, np.zeros(1, np.int64), np.zeros(1, bool), (100, 100)))
        detected = box if hit else box + 45
        detections.append(
            Detections(detected, np.array([score], np.float32), np.zeros(1, np.int64), ("fox",), (100, 100))
        )
    return ground_truth, detections


def test_calibration_error_of_calibrated_and_overconfident_scores():
    calibrated = calibrate(*one_box([0.5] * 10, [True] * 5 + [False] * 5), 1)
    assert calibrated.counts.sum() == 10
    assert calibrated.error == pytest.approx(0, abs=1e-6)
    overconfident = calibrate(*one_box([0.95] * 4 + [0.05], [True, True, True, False, False]), 1)
    assert overconfident.counts.tolist() == [0] * 8 + [4]
    assert overconfident.precision[8] == 0.75
    assert overconfident.error == pytest.approx(0.2, abs=1e-6)
    assert overconfident.bias == pytest.approx(0.2, abs=1e-6)
    assert np.isnan(calibrate([], [], 1).error)


def test_times_continue_after_resume(tmp_path: Path):
    watch = Stopwatch.start(tmp_path, resume=False)
    watch.validated(0.5)
    watch.epoch_done(1)
    watch.epoch_done(2)
    started = read_start(tmp_path)
    resumed = Stopwatch.start(tmp_path, resume=True)
    resumed.started = resumed.started or "later"
    resumed.epoch_done(2)
    resumed.epoch_done(3)
    assert [one.epoch for one in read_times(tmp_path)] == [1, 2, 3]
    assert [one.validation for one in read_times(tmp_path)] == [0.5, 0, 0]
    assert read_start(tmp_path) == started
    (tmp_path / "last" / "times.json").write_text(json.dumps({"epochs": [{"epoch": 1}]}))
    assert read_times(tmp_path) == []
