"""`lookonce data check` prints findings and counts, and exits 1 where something is fatal."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lookonce.cli import data
from lookonce.errors import LookonceError


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    data.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["data", "check", *arguments])
    return int(parsed.run(parsed))


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_bccd_prints_findings_and_counts(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(shared / "data" / "bccd"), "--json", str(tmp_path / "found.json")) == 0
    printed = capsys.readouterr().out
    for text in ("BloodImage_00338", "no area", "364 images", "4153", "0 fatal, 2 dropped"):
        assert text in printed
    report = json.loads((tmp_path / "found.json").read_text())
    assert len(report["findings"]) == 2
    assert report["images"] == {"train": 205, "val": 87, "trainval": 292, "test": 72, "all": 364}
    assert report["boxes"]["all"] == {"RBC": 4153, "WBC": 372, "Platelets": 361}


def test_a_missing_class_is_fatal(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "classes.txt").write_text("RBC\nWBC\n")
    assert run(str(shared / "data" / "bccd"), "--class-path", str(tmp_path / "classes.txt")) == 1
    assert "'Platelets'" in capsys.readouterr().out


def test_names_with_brackets_are_printed_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "[bold]").mkdir()
    (tmp_path / "[bold]" / "[red]a[/nope].xml".replace("/", "")).write_text("<annotation>")
    assert run(str(tmp_path / "[bold]")) == 1
    assert "[red]a[nope].xml" in capsys.readouterr().out


def test_many_findings_are_cut_to_a_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(100):
        (tmp_path / f"{number}.xml").write_text("<annotation/>")
    assert run(str(tmp_path)) == 1
    printed = capsys.readouterr().out
    assert "and 90 more; --json FILE writes all 101" in printed
    assert printed.count("image is missing") == 10


def test_an_unwritable_json_file_is_the_users_error(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(LookonceError, match="cannot be written"):
        run(str(shared / "labels" / "label-studio-export" / "VOC"), "--json", str(tmp_path / "no" / "a.json"))


def test_registering_the_command_imports_nothing_heavy() -> None:
    code = "import sys, lookonce.cli.data; print({'numpy', 'cv2', 'PIL', 'rich', 'keras'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )
