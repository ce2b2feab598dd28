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
    """What `request` answers, asked up to `attempts` times with growing waits or those that Azure names.

    Raises the last error, at once where asking again can't help, `stop` is set, or `within` seconds are over.
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


# In each the SDK itself tries four times; for the storage, with half a minute between them.
_ATTEMPTS, _WITHIN_SECONDS = 3, 45.0


def call(client: MLClient, request: Callable[[], Answer]) -> Answer:
    """What `request` answers. Raises LookonceError.

    ResourceNotFoundError stays what it is, unless the workspace itself isn't found.
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
    """Without the SDK's progress bars on both streams, and the notes that its loggers write there."""
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
    """Begin an operation and wait for its end. Raises LookonceError when it can't begin, or fails.

    `state` is the resource's provisioningState: it is asked when the connection breaks while waiting, for
    that isn't the operation's failure.
    """
    try:
        _finish(client, begin, state)
    except ResourceNotFoundError as error:
        raise LookonceError(f"{explain(error)}.") from error


def wait_for_deletion(client: MLClient, begin: Callable[[], Any], state: Callable[[], Any]) -> None:
    """The same for a deletion, which succeeds where there is nothing. Raises LookonceError."""
    try:
        _finish(client, begin, state)
    except ResourceNotFoundError:
        return


def failure_sentence(error: Exception) -> str:
    """Of anything that went wrong, as a sentence."""
    return str(error) if isinstance(error, LookonceError) else f"{explain(error)}."


def state_text(state: Any) -> str:
    """A state as the service writes it; the SDK has an enum for some."""
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
            raise LookonceError(f"it ended as {now}; the connection broke before Azure said why.") from error


def _lost(error: Exception) -> bool:
    """Whether the wait failed, not what is waited for."""
    if isinstance(error, _LOST_CONNECTION):
        return True
    # A token that ended meanwhile is one of these: the next request gets a new one.
    return isinstance(error, HttpResponseError) and error.status_code in (401, 408, 429, 500, 502, 503, 504)
