"""Test the stand-in as a command that a user starts."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from azure_stand_in.azurite import PROGRAM
from requirements import missing
from waiting import PATIENCE_SECONDS

TOOL = Path(__file__).resolve().parents[1]


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(TOOL), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the process; yield it and its output until it was ready."""
    if not PROGRAM.is_file():
        missing(f"Azurite is not installed in {PROGRAM}")
    process = start(tmp_path / "cloud")
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        printed.append(line)
        if "Ctrl-C" in line:
            break
    yield process, "".join(printed)
    for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
        child.kill()
    process.kill()
    process.communicate()


def in_shell(printed: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the lines that it prints for the user in a new shell."""
    lines = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
    lines[-1] = f"{shlex.quote(sys.executable)} -m {lines[-1]}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE", "STORAGE"))}
    return subprocess.run(
        ["bash", "-ec", "\n".join(lines)],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_azure_check_passes_and_the_stop_is_clean(
    running: tuple[subprocess.Popen[str], str], tmp_path: Path, number: signal.Signals
):
    process, printed = running
    checked = in_shell(printed, tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr + printed
    for part in ("config.json", "signed in", "workspace", "datastore", "storage"):
        assert part in checked.stdout
    assert "--  " not in checked.stdout
    environment = tmp_path / "cloud" / "environment.sh"
    assert environment.stat().st_mode & 0o077 == 0
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (0, "")
    assert psutil.wait_procs(family, PATIENCE_SECONDS)[1] == []


def test_a_folder_with_files_of_others_is_refused(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    process = start(tmp_path)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "not an empty folder" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
