import json
from pathlib import Path

import pytest

from lookonce.cli.main import main
from lookonce.inference.benchmark import STAGES, percentiles


def pair_of(shared: Path) -> list[str]:
    cfg = shared / "weights" / "yolo-fastest" / "yolo-fastest-1.1.cfg"
    return [str(cfg), "--weights", str(cfg.with_suffix(".weights"))]


def test_two_engines_are_measured_stage_by_stage(shared: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    file = tmp_path / "speed.json"
    image = str(shared / "images" / "dog.jpg")
    more = [
        "--engine",
        "onnx,auto",
        "--image",
        image,
        "--repeats",
        "12",
        "--batch",
        "2",
        "--json",
        str(file),
    ]
    assert main(["benchmark", *pair_of(shared), *more]) == 0
    printed = capsys.readouterr().out
    written = json.loads(file.read_text())
    assert written["image_size"] == [768, 576]
    assert [one["engine"] for one in written["engines"]] == ["onnx", "auto"]
    for one in written["engines"]:
        assert one["name"].startswith("ONNX Runtime")
        assert (one["images"], one["batch"]) == (24, 2)
        assert one["objects"] > 0
        assert list(one["milliseconds"]) == [*STAGES, "all"]
        for row in one["milliseconds"].values():
            assert 0 < row["median"] <= row["p90"] <= row["p99"]
        parts = sum(one["milliseconds"][stage]["median"] for stage in STAGES)
        assert parts < 3 * one["milliseconds"]["all"]["median"]
    for words in (*STAGES, "median", "p90", "p99", "images/s", "(24 measured)"):
        assert words in printed


def test_an_image_is_generated_by_default(shared: Path, capsys):
    assert main(["benchmark", *pair_of(shared), "--seconds", "0.2"]) == 0
    assert "a generated image (640x480)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--batch", "0"], "--batch is 0"),
        (["--repeats", "0"], "--repeats is 0"),
        (["--seconds", "0"], "--seconds is 0"),
        (["--image", "missing.jpg"], "missing.jpg"),
        (["--classes", "missing.names"], "missing.names"),
    ],
)
def test_invalid_options_are_reported_in_one_message(shared: Path, capsys, more: list[str], words: str):
    # The last error occurs in an engine's subprocess.
    assert main(["benchmark", *pair_of(shared), *more]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_an_unknown_engine_is_a_matter_of_usage(shared: Path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", *pair_of(shared), "--engine", "onnx,abacus"])
    assert ended.value.code == 2
    assert "abacus" in capsys.readouterr().err


def test_percentiles_are_in_milliseconds():
    assert percentiles([0.001 * value for value in range(101)]) == {"median": 50, "p90": 90, "p99": 99}
