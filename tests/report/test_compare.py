"""`lookonce compare`: tables, warnings, the HTML page, and errors for damaged runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from lookonce.cli.main import main
from lookonce.darknet import customise, published
from lookonce.darknet.anchors import Anchors
from lookonce.runs.folder import RunFolder
from lookonce.runs.reader import read_runs
from lookonce.runs.record import RunRecord
from page_browser import CONTRAST, chromium
from report_case import ANCHORS
from report_pages import assert_self_contained, visit

CFG = customise(published("yolov3-tiny"), 2, ANCHORS, (96, 128))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def make_run(
    root: Path,
    *,
    best: float = 0.8,
    epochs: int = 4,
    val: tuple[str, ...] = ("one.jpg", "two.jpg"),
    val_sha256: str = "b" * 64,
    train_sha256: str = "a" * 64,
    **settings: Any,
) -> Path:
    """Write the output folder of a training, using the package's own writers."""
    folder = RunFolder(root)
    folder.claim(False)
    folder.describe(
        CFG.text, Anchors(ANCHORS, 0.8), ["fox", "hen"], {"train": ["three.jpg"], "val": list(val)}
    )
    RunRecord(
        model="yolov3-tiny",
        parameters=8_674_496,
        input_size=(96, 128),
        classes=("fox", "hen"),
        settings={"epochs": epochs, "learning_rate": 0.001, "size": "96x128", **settings},
        data={
            "name": "set",
            "train": {"sha256": train_sha256},
            "val": {"sha256": val_sha256} if val else {},
        },
        machine={},
        lookonce="0",
    ).write(root)
    rows: list[dict[str, float]] = [
        {"epoch": epoch, "stage": 2, "loss": 9 / epoch} for epoch in range(1, epochs + 1)
    ]
    for row in rows if val else ():
        # The last epoch is worse than the one before it.
        share = best * (0.9 if row["epoch"] == epochs else row["epoch"] / (epochs - 1))
        row |= {"val_map": share, "val_ap": share / 2, "val_ap75": share / 3}
    folder.write_metrics(rows)
    times = [{"epoch": epoch, "seconds": 20.0, "validation": 2.0} for epoch in range(1, epochs + 1)]
    folder.last.mkdir()
    (folder.last / "times.json").write_text(json.dumps({"started": "", "epochs": times}))
    return root


def compare(capsys: pytest.CaptureFixture[str], *arguments: Path | str) -> tuple[int, str, str]:
    code = main(["compare", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def line_of(out: str, word: str) -> list[str]:
    return next(line.split() for line in out.splitlines() if word in line.split())


def test_metrics_of_best_epoch_and_differing_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first = make_run(tmp_path / "first")
    second = make_run(tmp_path / "second", best=0.9, epochs=5, learning_rate=0.002, train_sha256="c" * 64)
    code, out, _ = compare(capsys, first, second)
    assert code == 0
    assert " ".join(line_of(out, "first")) == "1 first 4 3 0.800 0.400 0.267 8.67 M 0:01:20 A A"
    assert " ".join(line_of(out, "second")) == "2 second 5 4 0.900 0.450 0.300 8.67 M 0:01:40 B A"
    assert line_of(out, "learning_rate") == ["learning_rate", "0.001", "0.002"]
    assert [line for line in out.splitlines() if line.split() == ["epochs", "4", "5"]]
    assert "96x128" not in out
    assert "warning" not in out
    # Each run fits one line of an 80-column terminal.
    assert max(map(len, out.splitlines())) <= 80


def test_different_validation_images_give_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first = make_run(tmp_path / "first")
    other = make_run(tmp_path / "other", val=("one.jpg", "four.jpg"), val_sha256="d" * 64)
    none = make_run(tmp_path / "none", val=())
    code, out, _ = compare(capsys, first, other, none)
    assert code == 0
    assert "other was validated on other images than first" in out
    assert "none had no validation images" in out
    assert [line_of(out, name)[-1] for name in ("first", "other", "none")] == ["A", "B", "\N{EN DASH}"]
    labels = make_run(tmp_path / "labels", val_sha256="e" * 64)
    assert (
        "labels was validated on the images of first, but with other labels"
        in compare(capsys, first, labels)[1]
    )


def test_equal_runs_have_no_differing_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    # Folders with the same name are distinguished by their parent.
    runs = [make_run(tmp_path / name / "outputs") for name in ("a", "b")]
    code, out, _ = compare(capsys, *runs)
    assert code == 0
    assert "All settings are the same." in out
    assert line_of(out, "a/outputs")[-2:] == line_of(out, "b/outputs")[-2:] == ["A", "A"]


def test_runs_of_older_versions_without_run_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first, older = make_run(tmp_path / "first"), make_run(tmp_path / "older")
    (older / "run.json").unlink()
    (older / "last" / "times.json").unlink()
    state = {"run": {"epochs": 4, "learning_rate": 0.003, "augmentation": {"hue": 0.1}}}
    (older / "last" / "state.json").write_text(json.dumps(state))
    code, out, _ = compare(capsys, first, older)
    assert code == 0
    dash = "\N{EN DASH}"
    assert line_of(out, "older") == f"2 older 4 3 0.800 0.400 0.267 8.67 M {dash} {dash} A".split()
    assert line_of(out, "augmentation.hue") == ["augmentation.hue", dash, "0.1"]
    assert "warning" not in out
    # Without fingerprints, images are compared by name.
    (older / "split.json").write_text(json.dumps({"train": [], "val": ["one.jpg", "five.jpg"]}))
    out = compare(capsys, first, older)[1]
    assert line_of(out, "older")[-1] == "B"
    assert "older was validated on other images" in out


def test_unfinished_run_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first, running = make_run(tmp_path / "first"), make_run(tmp_path / "running")
    lines = (running / "metrics.csv").read_text().splitlines(keepends=True)
    (running / "metrics.csv").write_text("".join(lines[:2]))
    code, out, _ = compare(capsys, first, running)
    assert code == 0
    assert line_of(out, "running")[2:4] == ["1", "1"]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda run: [path.unlink() for path in run.glob("*.*")], "no training"),
        (lambda run: (run / "metrics.csv").unlink(), "no epoch"),
        (lambda run: (run / "metrics.csv").write_text("epoch,loss\nx,y\n"), "metrics.csv"),
        (lambda run: (run / "metrics.csv").write_text(""), "metrics.csv"),
        (lambda run: (run / "metrics.csv").write_bytes(b"\xff\xfe\x00"), "metrics.csv"),
        (lambda run: (run / "run.json").write_text("{"), "run.json"),
        (lambda run: (run / "run.json").write_text('{"format": 1}'), "run.json"),
        (lambda run: (run / "run.json").write_text('{"format": 9}'), "format"),
        (lambda run: (run / "split.json").write_text("[" * 100_000), "split.json"),
    ],
)
def test_damaged_run_is_reported_with_its_file(
    break_it: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    first, broken = make_run(tmp_path / "first"), make_run(tmp_path / "broken")
    break_it(broken)
    code, _, errors = compare(capsys, first, broken)
    assert code == 1
    assert words in errors
    assert "broken" in errors


def test_single_run_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as exit_info:
        main(["compare", str(tmp_path)])
    assert exit_info.value.code == 2
    assert "two or more" in capsys.readouterr().err


def test_page_has_curves_and_is_self_contained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], browser: Browser
):
    hostile = tmp_path / "<img src=x onerror=alert(1)>"
    runs = [make_run(tmp_path / "first"), make_run(hostile, best=0.6, loss="<b>ciou", val_sha256="f" * 64)]
    runs += [make_run(tmp_path / f"run{number}" / ("W" * 120), best=0.5) for number in range(6)]
    page_file = tmp_path / "new folder" / "comparison.html"
    code, out, _ = compare(capsys, *runs, "--html", page_file)
    assert code == 0
    assert f"Written: {page_file}" in out
    assert_self_contained(page_file.read_text())
    for width, scheme in ((375, "light"), (375, "dark"), (1200, "light")):
        page, messages = visit(browser, page_file, width, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        assert [one for one in page.evaluate(CONTRAST) if not one["enough"]] == []
        assert page.locator("#curves svg.chart").count() == 4
        assert page.locator("#curves svg.chart").first.locator("path.line").count() == len(runs)
        assert page.locator("img, script").count() == 0
        text = page.inner_text("main")
        assert "<img src=x onerror=alert(1)>" in text
        assert "<b>ciou" in text
        assert "with other labels" in text
        assert messages == []
    # Metrics measured on different data have no best value.
    assert page.locator("#runs td b").count() == 0


def test_compare_imports_no_backend(tmp_path: Path):
    runs = [str(make_run(tmp_path / name)) for name in ("first", "second")]
    code = (
        "import sys\nfrom lookonce.cli.main import main\n"
        "assert main(['compare', *sys.argv[1:], '--html', sys.argv[1] + '/page.html']) == 0\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'matplotlib', 'onnxruntime'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *runs], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr


def test_best_epoch_is_the_first_of_equal_ones(tmp_path: Path):
    root = make_run(tmp_path / "run")
    rows = [
        {"epoch": epoch, "loss": 1.0, "val_map": value} for epoch, value in ((1, 0.2), (2, 0.5), (3, 0.5))
    ]
    RunFolder(root).write_metrics(rows)
    run = read_runs([root])[0]
    assert run.best is not None
    assert run.best["epoch"] == 2
    assert np.isclose(run.best["val_map"], 0.5)
