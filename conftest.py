"""Fixtures for the tests of the package and of the tools: shared material, optional modules, the stand-in."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from requirements import missing

if TYPE_CHECKING:
    from azure_stand_in.azurite import Azurite
    from azure_stand_in.stand_in import StandIn

# Before anything imports Keras: it reads these once.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Converted models go where the run's other files go, not into the user's cache.
os.environ.setdefault("LOOKONCE_CACHE", str(Path(tempfile.gettempdir()) / "lookonce-test-cache"))

# A job in the background is started with Ctrl-C ignored, and so would be the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent


# A test that uses one of these fixtures needs a browser, a cloud, a screen or a file system of its own.
_EXTERNAL = {"azurite", "browser", "display", "label_studio", "running_stand_in", "small_disk", "stand_in"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow whatever needs an external program, or lies in the stand-in's tests."""
    for item in items:
        if _EXTERNAL & set(getattr(item, "fixturenames", ())) or "azure_stand_in" in item.path.parts:
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup() -> None:
    """Keep absl's log handler off pytest's captured streams.

    It closes its stream when logging is configured anew, as importing mlflow does, unless that is the current
    sys.stderr; the stream that pytest captures with would be lost for all tests after it.
    """
    absl = sys.modules.get("absl.logging")
    if absl is not None:
        absl.get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared images, data sets and weights: LOOKONCE_SHARED, else beside the repository."""
    folder = Path(os.environ.get("LOOKONCE_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        missing(f"no shared test material at {folder} (set LOOKONCE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def need() -> Callable[[str], ModuleType]:
    """`need("jax")` imports an optional module, or skips the test that wants it."""

    def importer(name: str) -> ModuleType:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            missing(f"{name} is not installed ({error})")
            raise

    return importer


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 3 MB: what a full disk does to a writer."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        missing(f"a small tmpfs cannot be mounted ({mounted.stderr.decode().strip()})")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def display() -> Iterator[dict[str, str]]:
    """The environment of a screen of its own, in Xvfb; nothing is drawn on a person's."""
    if not shutil.which("Xvfb"):
        missing("Xvfb is not installed")
    reading, writing = os.pipe()
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "800x600x24"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as answer:
        name = f":{answer.readline().strip()}"
    yield {**os.environ, "DISPLAY": name}
    screen.kill()
    screen.wait()


@pytest.fixture(scope="session")
def running_stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The processes; take `stand_in` instead."""
    from azure_stand_in.azurite import MissingProgramError
    from azure_stand_in.stand_in import StandIn

    try:
        running = StandIn(tmp_path_factory.mktemp("azure_ml"))
    except MissingProgramError as error:
        missing(str(error))
        raise
    yield running
    running.close()


@pytest.fixture
def stand_in(running_stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A workspace, with `environment` set in this process while the test runs, and no faults.

    What earlier tests made in it stays; use names of your own.
    """
    for name, value in running_stand_in.environment.items():
        monkeypatch.setenv(name, value)
    # The SDK sets it, and would find it again.
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", running_stand_in.cloud_name)
    monkeypatch.delenv("AZUREML_CURRENT_CLOUD")
    running_stand_in.requests.clear()
    yield running_stand_in
    running_stand_in.faults.clear()


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A storage account of the emulator, running."""
    from azure_stand_in.azurite import Azurite, MissingProgramError

    try:
        account = Azurite(tmp_path_factory.mktemp("azurite"))
    except MissingProgramError as error:
        missing(str(error))
        raise
    with account:
        yield account
