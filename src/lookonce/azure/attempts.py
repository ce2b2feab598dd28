"""Asking Azure again when it is worth it: throttled, unavailable, or a connection that broke."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)

Answer = TypeVar("Answer")

ATTEMPTS = 6
_FIRST_SECONDS, _LONGEST_SECONDS = 0.5, 30.0
_PASSING = {408, 429, 500, 502, 503, 504}
_BROKEN = (ServiceRequestError, ServiceResponseError, IncompleteReadError, ConnectionError)


def attempt(
    ask: Callable[[], Answer], stop: threading.Event | None = None, attempts: int = ATTEMPTS
) -> Answer:
    """What `ask` answers, asked up to `attempts` times with growing waits or those that Azure names.

    Raises the last error, at once where asking again can't help or `stop` is set.
    """
    for number in range(1, attempts + 1):
        try:
            return ask()
        except (AzureError, ConnectionError) as error:
            if number == attempts or not _may_pass(error) or (stop is not None and stop.is_set()):
                raise
            seconds = _named_wait(error) or _grown_wait(number)
            if stop is None:
                time.sleep(seconds)
            elif stop.wait(seconds):
                raise
    raise AssertionError("attempts is less than 1")


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ClientAuthenticationError):
        return False
    if isinstance(error, HttpResponseError) and not isinstance(error, _BROKEN):
        return error.status_code in _PASSING
    return isinstance(error, _BROKEN)


def _grown_wait(number: int) -> float:
    return min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** (number - 1)) * random.uniform(0.6, 1.2)


def _named_wait(error: Exception) -> float | None:
    """Retry-After, in seconds or as a date, bounded."""
    response = getattr(error, "response", None)
    text = response.headers.get("Retry-After", "") if response is not None else ""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return min(_LONGEST_SECONDS, max(0.1, seconds))
