"""Skip a test, or fail it, when something it needs is not installed."""

from __future__ import annotations

import os

import pytest


def missing(reason: str) -> None:
    """Skip the test; fail it where LOOKONCE_REQUIRE_ALL=1 says that everything is installed."""
    if os.environ.get("LOOKONCE_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason}, and LOOKONCE_REQUIRE_ALL=1 forbids skipping")
    pytest.skip(reason)
