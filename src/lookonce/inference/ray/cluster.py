"""A Ray session for one run, started locally or joined, without Ray's console output."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lookonce.errors import LookonceError

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Otherwise Ray prints its warnings to the terminal; its log files in /tmp/ray have them as well.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
# Only names and counts are transferred, no images.
_STORE_BYTES = 256 * 2**20


@contextmanager
def ray_session(address: str | None, largest_bytes: int) -> Iterator[None]:
    """Connect to the cluster at `address` ("auto", "ray://host:10001"), or start Ray on this machine.

    On exit the session is left or stopped; a session that the caller had initialised is used and kept.
    `largest_bytes` is the size of the largest object that will be stored in it. Raises LookonceError.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        store = _STORE_BYTES + 2 * largest_bytes
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": store}
    else:
        options |= {"address": address}
    try:
        ray.init(**options)
    # A wrong address is a ConnectionError; other versions and busy ports raise other errors.
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        where = f"--address {address}: no Ray cluster responds" if address else "Ray cannot be started here"
        if "AuthToken" in str(error.__cause__):
            raise LookonceError(
                f"--address {address}: this Ray cluster requires a token. Set RAY_AUTH_MODE=token, and the "
                "token in RAY_AUTH_TOKEN or ~/.ray/auth_token."
            ) from error
        fix = (
            "Start one with `ray start --head`, with equal Ray and Python versions, or leave out --address."
            if address
            else "Ray's log is in /tmp/ray/session_latest/logs."
        )
        raise LookonceError(f"{where} ({first}). {fix}") from error
    try:
        yield
    finally:
        ray.shutdown()
