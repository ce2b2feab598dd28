"""Wait for conditions in tests, with a bound that only a hanging program reaches."""

from __future__ import annotations

import time
from collections.abc import Callable

# A loaded machine may take minutes for what takes a second on an idle one.
PATIENCE_SECONDS = 180.0


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Return once `condition()` is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true within {seconds:.0f} seconds"
        time.sleep(0.05)
