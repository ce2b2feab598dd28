"""Send requests to Azure: retry what may pass, wait for long-running operations, explain failures."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import SansIOHTTPPolicy

from lookonce.azure.errors import explain, workspace_missing
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

Answer = TypeVar("Answer")

ATTEMPTS = 6
_FIRST_SECONDS, _LONGEST_SECONDS = 0.5, 30.0
_STORED = "BlobAlreadyExists"
_PASSING = {408, 429, 500, 502, 503, 504}
_BROKEN = (ServiceRequestError, ServiceResponseError, IncompleteReadError, ConnectionError)


def with_retries(
    request: Callable[[], Answer],
    stop: threading.Event | None = None,
    attempts: int = ATTEMPTS,
    within: float = math.inf,
) -> Answer:
    """Return the result of `request`, tried up to `attempts` times with growing waits or Azure's.

    Raises the last error; at once where a retry cannot help, `stop` is set, or `within` seconds have passed.
    """
    last = time.monotonic() + within
    for number in range(1, attempts + 1):
        try:
            return request()
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
    """A policy for the SDK's clients, which wait as long as a response says: it limits Retry-After."""

    def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:
        """Shorten the wait that a response names."""
        headers = response.http_response.headers
        if (seconds := _seconds(headers.get("Retry-After", ""))) is not None and seconds > _LONGEST_SECONDS:
            headers["Retry-After"] = f"{_LONGEST_SECONDS:g}"


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ClientAuthenticationError):
        return False
    if isinstance(error, HttpResponseError) and not isinstance(error, _BROKEN):
        # The SDK retried an upload whose response was lost; a new attempt looks for the blob first.
        return error.status_code in _PASSING or getattr(error, "error_code", None) == _STORED
    return isinstance(error, _BROKEN)


def _grown_wait(number: int) -> float:
    return min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** (number - 1)) * random.uniform(0.6, 1.2)


def _named_wait(error: Exception) -> float | None:
    """Return the wait in seconds that a response names, bounded."""
    response = getattr(error, "response", None)
    seconds = _seconds(response.headers.get("Retry-After", "")) if response is not None else None
    return None if seconds is None else min(_LONGEST_SECONDS, max(0.1, seconds))


def _seconds(text: str) -> float | None:
    """Parse a Retry-After header: seconds or a date."""
    try:
        return float(text)
    except ValueError:
        try:
            return parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError):
            return None


# The SDK itself tries four times in each; for storage, half a minute apart.
_ATTEMPTS, _WITHIN_SECONDS = 3, 45.0


def call(client: MLClient, request: Callable[[], Answer]) -> Answer:
    """Return the result of `request`, sent through the SDK with retries. Raises LookonceError.

    ResourceNotFoundError passes through, unless the workspace itself is missing.
    """
    try:
        with sdk_silenced():
            return with_retries(request, attempts=_ATTEMPTS, within=_WITHIN_SECONDS)
    except LookonceError:
        raise
    except Exception as error:
        if isinstance(error, ResourceNotFoundError) and not workspace_missing(error):
            raise
        raise LookonceError(f"workspace {client.workspace_name}: {explain(error)}.") from error


@contextlib.contextmanager
def sdk_silenced() -> Iterator[None]:
    """Suppress the SDK's progress bars on both streams, and its logging."""
    nothing, before = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            yield
    finally:
        logging.disable(before)


_FINAL_STATES = ("Succeeded", "Failed", "Canceled")
POLL_SECONDS = 5.0
_LOST_CONNECTION = (ServiceRequestError, ServiceResponseError, ConnectionError)


def wait_for(client: MLClient, begin: Callable[[], Any], state: Callable[[], Any]) -> None:
    """Begin an operation and wait until it finishes. Raises LookonceError where it cannot begin, or fails.

    `state` returns the resource's provisioningState. It is polled when the connection breaks while waiting,
    because that is not the operation's failure.
    """
    try:
        _finish(client, begin, state)
    except ResourceNotFoundError as error:
        raise LookonceError(f"{explain(error)}.") from error


def wait_for_deletion(client: MLClient, begin: Callable[[], Any], state: Callable[[], Any]) -> None:
    """Begin a deletion and wait for it; succeed where there is nothing. Raises LookonceError."""
    try:
        _finish(client, begin, state)
    except ResourceNotFoundError:
        return


def failure_sentence(error: Exception) -> str:
    """Return any exception as a sentence for a person."""
    return str(error) if isinstance(error, LookonceError) else f"{explain(error)}."


def state_text(state: Any) -> str:
    """Return a state as text; the SDK has an enum for some."""
    return str(getattr(state, "value", state))


def _finish(client: MLClient, begin: Callable[[], Any], state: Callable[[], Any]) -> None:
    poller = call(client, begin)
    try:
        with sdk_silenced():
            poller.result()
    except ResourceNotFoundError:
        raise
    except Exception as error:
        if not _lost(error):
            raise LookonceError(f"{explain(error)}.") from error
        while (now := state_text(call(client, state))) not in _FINAL_STATES:
            time.sleep(POLL_SECONDS)
        if now != "Succeeded":
            raise LookonceError(
                f"the operation ended as {now}; the connection was lost before Azure gave a reason."
            ) from error


def _lost(error: Exception) -> bool:
    """Return whether the wait failed, not the operation."""
    if isinstance(error, _LOST_CONNECTION):
        return True
    # An expired token gives one of these; the next request gets a new one.
    return isinstance(error, HttpResponseError) and error.status_code in (401, 408, 429, 500, 502, 503, 504)
