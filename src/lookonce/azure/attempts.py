"""Asking Azure again when it is worth it: throttled, unavailable, or a connection that broke."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import SansIOHTTPPolicy

Answer = TypeVar("Answer")

ATTEMPTS = 6
_FIRST_SECONDS, _LONGEST_SECONDS = 0.5, 30.0
_STORED = "BlobAlreadyExists"
_PASSING = {408, 429, 500, 502, 503, 504}
_BROKEN = (ServiceRequestError, ServiceResponseError, IncompleteReadError, ConnectionError)


def attempt(
    ask: Callable[[], Answer],
    stop: threading.Event | None = None,
    attempts: int = ATTEMPTS,
    within: float = math.inf,
) -> Answer:
    """What `ask` answers, asked up to `attempts` times with growing waits or those that Azure names.

    Raises the last error, at once where asking again can't help, `stop` is set, or `within` seconds are over.
    """
    last = time.monotonic() + within
    for number in range(1, attempts + 1):
        try:
            return ask()
        except (AzureError, ConnectionError) as error:
            over = number == attempts or time.monotonic() > last or (stop is not None and stop.is_set())
            if over or not _may_pass(error):
                raise
            seconds = _named_wait(error) or _grown_wait(number)
            if stop is None:
                time.sleep(seconds)
            elif stop.wait(seconds):
                raise
    raise AssertionError("attempts is less than 1")


class BoundedWaits(SansIOHTTPPolicy[Any, Any]):
    """For the SDK's clients, which wait as long as an answer says: a Retry-After of more becomes this."""

    def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:
        """Shorten the wait that one answer names."""
        headers = response.http_response.headers
        if (seconds := _seconds(headers.get("Retry-After", ""))) is not None and seconds > _LONGEST_SECONDS:
            headers["Retry-After"] = f"{_LONGEST_SECONDS:g}"


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ClientAuthenticationError):
        return False
    if isinstance(error, HttpResponseError) and not isinstance(error, _BROKEN):
        # The SDK's own second try of an upload whose answer was lost; anew, it looks at what is there first.
        return error.status_code in _PASSING or getattr(error, "error_code", None) == _STORED
    return isinstance(error, _BROKEN)


def _grown_wait(number: int) -> float:
    return min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** (number - 1)) * random.uniform(0.6, 1.2)


def _named_wait(error: Exception) -> float | None:
    """What an answer asks for, bounded."""
    response = getattr(error, "response", None)
    seconds = _seconds(response.headers.get("Retry-After", "")) if response is not None else None
    return None if seconds is None else min(_LONGEST_SECONDS, max(0.1, seconds))


def _seconds(text: str) -> float | None:
    """Of a Retry-After, which says seconds or a date."""
    try:
        return float(text)
    except ValueError:
        try:
            return parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
