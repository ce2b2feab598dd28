"""Ray for the time of one run: started here, or a cluster's; either way quiet."""

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
    # Ray's own warnings go to the terminal otherwise; its files in /tmp/ray keep the rest.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
# Names and counts travel, no images.
_STORE_BYTES = 256 * 2**20


@contextmanager
def ray_session(address: str | None, largest_bytes: int) -> Iterator[None]:
    """A Ray to work with: the one at `address` ("auto", "ray://host:10001"), else one started for this.

    `largest_bytes` is the largest object that will be put into it. What was started or joined here is left
    at the end; a Ray that the caller had before stays as it was. Raises LookonceError.
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
    # A wrong address is a ConnectionError, another version or a busy port some other.
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        where = f"--address {address}: no Ray cluster answers" if address else "Ray can't be started here"
        if "AuthToken" in str(error.__cause__):
            raise LookonceError(
                f"--address {address}: this Ray cluster wants a token. Set RAY_AUTH_MODE=token, with the "
                "token in RAY_AUTH_TOKEN or ~/.ray/auth_token."
            ) from error
        fix = (
            "Start one with `ray start --head`, Ray and Python as here, or leave --address out."
            if address
            else "Ray's own log is in /tmp/ray/session_latest/logs."
        )
        raise LookonceError(f"{where} ({first}). {fix}") from error
    try:
        yield
    finally:
        ray.shutdown()
