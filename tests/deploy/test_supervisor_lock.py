"""Test that listing services does not disturb one that is starting."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from lookonce.deploy import local
from lookonce.deploy.local import LocalService


def test_listing_a_service_does_not_stop_its_supervisor_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LOOKONCE_STATE", str(tmp_path))
    started = tmp_path / "started"
    command = [sys.executable, "-c", f"open({str(started)!r}, 'w').close()"]
    service = LocalService("dogs", "", "", "dogs.onnx", command, "", "")
    service.folder.mkdir(parents=True)
    (service.folder / "service.json").write_text(json.dumps({"command": command}))
    holding, go_on = threading.Event(), threading.Event()

    class SlowLock(FileLock):  # type: ignore[misc, valid-type]
        """Hold the lock until the test releases it, like a listing that is preempted."""

        def release(self, force: bool = False) -> None:
            if Path(self.lock_file).name == "lock" and not holding.is_set():
                holding.set()
                assert go_on.wait(120)
            super().release(force)

    monkeypatch.setattr(local, "FileLock", SlowLock)
    listing = threading.Thread(target=lambda: service.running)
    listing.start()
    assert holding.wait(60)
    supervisor = subprocess.Popen([sys.executable, "-m", "lookonce.deploy.supervisor", str(service.folder)])
    # A supervisor that gives up has exited by then; success does not depend on time.
    until = time.monotonic() + 5
    while supervisor.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    go_on.set()
    listing.join()
    assert supervisor.wait(120) == 0
    assert started.exists()
    assert not service.running
