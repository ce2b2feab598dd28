"""`lookonce score` against a running service: the same as `detect` says, and readable where it can't be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lookonce.cli.main import main
from lookonce.errors import LookonceError
from lookonce.inference import Detector, draw
from lookonce.io.images import list_images, read_image
from lookonce.serving.client.address import ScoringAddress
from serving_process import Serving, fastest

KEY = "a key of 24 signs, or é"


@pytest.fixture(scope="module")
def service(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("score"), *fastest(shared), env={"WEBSERVICE_KEY": KEY}) as running:
        yield running


@pytest.fixture(autouse=True)
def surroundings(service: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORING_URI", service.url)
    monkeypatch.setenv("WEBSERVICE_KEY", KEY)


@pytest.fixture(scope="module")
def detector(shared: Path) -> Detector:
    cfg, _, weights, _, classes = fastest(shared)
    return Detector(cfg, weights=weights, classes=classes, conf=0.4)


def test_json_and_drawn_copies_are_those_of_the_detector(shared: Path, tmp_path: Path, detector: Detector):
    images = tmp_path / "images"
    shutil.copytree(shared / "images", images)
    (images / "turned.png").write_bytes((images / "dog.jpg").read_bytes())
    found, drawn = tmp_path / "found.json", tmp_path / "drawn"
    code = main(["score", str(images), "--conf", "0.4", "--json", str(found), "--output", str(drawn)])
    assert code == 0
    expected = {path.name: detector.detect(path) for path in list_images(images)}
    assert json.loads(found.read_text()) == [one.to_dict(name) for name, one in expected.items()]
    assert sum(map(len, expected.values())) > 10
    image = read_image(drawn / "turned.png")
    np.testing.assert_array_equal(image, draw(read_image(images / "turned.png"), expected["turned.png"]))
    assert {path.name for path in drawn.iterdir()} == set(expected)


def test_the_table_has_a_whole_line_for_each_box(shared: Path, capsys: pytest.CaptureFixture[str]):
    images = shared / "images"
    assert main(["score", str(images / "dog.jpg"), str(images / "eagle.jpg"), "--conf", "0.5"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert rows[0] == ["image", "class", "score", "left", "top", "right", "bottom"]
    assert rows[2] == ["dog.jpg", "dog", "0.61", "115", "190", "406", "508"]
    assert [row[:2] for row in rows[3:-1]] == [
        ["dog.jpg", "bicycle"],
        ["dog.jpg", "car"],
        ["eagle.jpg", "bird"],
    ]
    assert rows[-1][:4] == ["2", "images,", "4", "objects"]


def test_an_image_without_objects_says_so(shared: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["score", str(shared / "images" / "dog.jpg"), "--conf", "0.99"]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_patterns_folders_and_files_are_sent_once_each(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    images = shared / "images"
    named = [str(images / "d*.jpg"), str(images), str(images / "dog.jpg")]
    assert main(["score", *named, "--json", "-"]) == 0
    names = [one["filename"] for one in json.loads(capsys.readouterr().out)]
    assert sorted(names) == [path.name for path in list_images(images)]


def test_a_bad_image_is_reported_and_the_others_are_scored(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copy(shared / "images" / "dog.jpg", tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"no image at all")
    (tmp_path / "c.jpg").touch()
    shutil.copy(shared / "images" / "eagle.jpg", tmp_path / "d.jpg")
    assert main(["score", str(tmp_path), "--json", str(tmp_path / "found.json")]) == 1
    printed = capsys.readouterr()
    assert "b.jpg: the service returned 422" in printed.err
    assert "c.jpg: the file is empty" in printed.err
    assert "2 images failed" in printed.out
    found = json.loads((tmp_path / "found.json").read_text())
    assert [one["filename"] for one in found] == ["a.jpg", "d.jpg"]


@pytest.mark.parametrize("key", [None, "another"])
def test_a_missing_or_wrong_key_is_reported_once_and_never_shown(
    shared: Path, key: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    if key is None:
        monkeypatch.delenv("WEBSERVICE_KEY")
    else:
        monkeypatch.setenv("WEBSERVICE_KEY", key)
    assert main(["score", str(shared / "images")]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("lookonce: ") == 1
    assert "WEBSERVICE_KEY" in printed.err
    assert "another" not in (printed.out + printed.err).replace("another variable", "")


def test_a_key_unfit_for_a_header_is_not_shown(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("OTHER", "se\ncret")
    assert main(["score", str(shared / "images" / "dog.jpg"), "--key-env", "OTHER"]) == 1
    printed = capsys.readouterr()
    assert "the key in OTHER" in printed.err
    assert "cret" not in printed.out + printed.err


def test_a_named_variable_without_a_key_is_reported(shared: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["score", str(shared / "images" / "dog.jpg"), "--key-env", "NOT_SET"]) == 1
    assert "NOT_SET, which is not set" in capsys.readouterr().err


def test_another_route_of_the_service_is_reported(
    shared: Path, service: Serving, capsys: pytest.CaptureFixture[str]
):
    assert main(["score", str(shared / "images" / "dog.jpg"), "--uri", f"{service.url}/health"]) == 1
    assert "/health/score is not a service's /score (404" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://one:8080", "http://one:8080/score"),
        ("http://one:8080/", "http://one:8080/score"),
        ("https://one/score", "https://one/score"),
        ("https://one/score/", "https://one/score"),
        ("one:81/api/v1/service/dogs", "http://one:81/api/v1/service/dogs/score"),
        (" https://one/score?format=azure ", "https://one/score?format=azure&conf=0.5"),
        ("http://[::1]:8080", "http://[::1]:8080/score"),
    ],
)
def test_addresses_are_taken_with_and_without_score(given: str, expected: str):
    query = {"conf": 0.5, "iou": None} if "?" in given else {}
    address = ScoringAddress.parse(given, query)
    assert address.url == expected
    assert "?" not in address.shown


@pytest.mark.parametrize(
    "given", ["ftp://one/score", "http://", "http://[::1", "http://one:port", "http://a b/"]
)
def test_an_invalid_address_is_reported(given: str):
    with pytest.raises(LookonceError, match=r"expected|malformed"):
        ScoringAddress.parse(given)


def test_an_address_with_a_password_is_refused_without_showing_it():
    with pytest.raises(LookonceError, match="user or a password") as caught:
        ScoringAddress.parse("https://user:secret@one/score")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("flag", "value"), [("--conf", "2"), ("--timeout", "0"), ("--retries", "-1"), ("--clients", "0")]
)
def test_numbers_out_of_range_are_reported(
    shared: Path, flag: str, value: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["score", str(shared / "images" / "dog.jpg"), flag, value]) == 1
    assert f"{flag} is " in capsys.readouterr().err


def test_drawn_copies_never_replace_what_is_sent(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copy(shared / "images" / "dog.jpg", tmp_path / "dog.jpg")
    assert main(["score", str(tmp_path), "--output", str(tmp_path)]) == 1
    assert "would overwrite" in capsys.readouterr().err


def test_bench_counts_and_times(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["score", str(shared / "images"), "--bench", "--clients", "2", "--seconds", "1"]
    assert main([*arguments, "--json", str(tmp_path / "load.json")]) == 0
    load = json.loads((tmp_path / "load.json").read_text())
    answered = load["outcomes"]["200"]
    assert answered > 2
    assert load["requests_per_second"] == pytest.approx(answered / load["seconds"], rel=0.01)
    times = load["milliseconds"]
    assert 0 < times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
    assert 0 < load["service_milliseconds"]["infer"] <= times["max"]
    assert load["images"] == len(list_images(shared / "images"))
    shown = capsys.readouterr().out
    assert "requests/s" in shown
    assert f"200: {answered:,}" in shown


def test_one_image_needs_no_network_library(shared: Path, service: Serving):
    code = (
        "import sys\n"
        "from lookonce.cli.main import main\n"
        "code = main(['score', sys.argv[1]])\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'onnxruntime', 'cv2', 'numpy', 'fastapi'}\n"
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(shared / "images" / "dog.jpg")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "bicycle" in done.stdout
