"""Test `lookonce storage upload` for accounts that refuse or are unreachable: one line with the fix."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from azure_stand_in.stand_in import StandIn
from faulty_proxy import FaultyProxy


def upload(stand_in: StandIn, folder: Path, **variables: str) -> str:
    """Return the one line that a failed upload prints."""
    (folder / "images").mkdir()
    (folder / "images" / "one.jpg").write_bytes(b"one")
    done = subprocess.run(
        [sys.executable, "-m", "lookonce", "storage", "upload", "images", "--container", "raw"],
        cwd=folder,
        env={
            **os.environ,
            **stand_in.environment,
            "STORAGE_CONNECTION_STRING": "",
            "STORAGE_ACCOUNT_KEY": stand_in.storage.key,
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    assert stand_in.storage.key not in done.stderr
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        (
            "AuthorizationPermissionMismatch",
            "this identity has no role for this storage; ask its owner for Storage Blob Data Contributor",
        ),
        ("AuthenticationFailed", "no access; check the key, its expiry, or your role on the account"),
    ],
)
def test_the_account_refuses(stand_in: StandIn, tmp_path: Path, code: str, printed: str):
    with FaultyProxy("http://127.0.0.1:9") as proxy:
        proxy.fault = lambda method, path, number: ("status", (403, [("x-ms-error-code", code)]))
        line = upload(stand_in, tmp_path, STORAGE_ACCOUNT_NAME=f"http://127.0.0.1:{proxy.port}/account")
    assert line == f"lookonce: container raw: Azure answered 403 {code}: {printed}."


def test_a_missing_account(stand_in: StandIn, tmp_path: Path):
    name = "nosuchaccount.blob.core.invalid"
    line = upload(
        stand_in,
        tmp_path,
        STORAGE_ACCOUNT_NAME="nosuchaccount",
        STORAGE_ENDPOINT_SUFFIX="core.invalid",
        NO_PROXY=name,
        no_proxy=name,
    )
    assert line == (
        f"lookonce: container raw: {name} is unreachable: its name does not resolve; check the name and the "
        "network."
    )
