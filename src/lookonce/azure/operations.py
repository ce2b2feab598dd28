"""Operations that go on in the cloud after the request: waited for, with their failure in one line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import (
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)

from lookonce.azure.ask import ask, quiet
from lookonce.azure.explain import explain
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_ENDED = ("Succeeded", "Failed", "Canceled")
POLL_SECONDS = 5.0
_BROKEN = (ServiceRequestError, ServiceResponseError, ConnectionError)


def finish(client: MLClient, begin: Callable[[], Any], state: Callable[[], Any]) -> None:
    """Begin an operation and wait for its end. Raises LookonceError when it can't begin, or fails.

    `state` is the resource's provisioningState: it is asked when the connection breaks while waiting, for
    that isn't the operation's failure.
    """
    try:
        _finish(client, begin, state)
    except ResourceNotFoundError as error:
        raise LookonceError(f"{explain(error)}.") from error


def delete(client: MLClient, begin: Callable[[], Any], state: Callable[[], Any]) -> None:
    """The same for a deletion, which succeeds where there is nothing. Raises LookonceError."""
    try:
        _finish(client, begin, state)
    except ResourceNotFoundError:
        return


def told(error: Exception) -> str:
    """Of anything that went wrong, as a sentence."""
    return str(error) if isinstance(error, LookonceError) else f"{explain(error)}."


def plain(state: Any) -> str:
    """A state as the service writes it; the SDK has an enum for some."""
    return str(getattr(state, "value", state))


def _finish(client: MLClient, begin: Callable[[], Any], state: Callable[[], Any]) -> None:
    poller = ask(client, begin)
    try:
        with quiet():
            poller.result()
    except ResourceNotFoundError:
        raise
    except Exception as error:
        if not _lost(error):
            raise LookonceError(f"{explain(error)}.") from error
        while (now := plain(ask(client, state))) not in _ENDED:
            time.sleep(POLL_SECONDS)
        if now != "Succeeded":
            raise LookonceError(f"it ended as {now}; the connection broke before Azure said why.") from error


def _lost(error: Exception) -> bool:
    """Whether the wait failed, not what is waited for."""
    if isinstance(error, _BROKEN):
        return True
    # A token that ended meanwhile is one of these: the next request gets a new one.
    return isinstance(error, HttpResponseError) and error.status_code in (401, 408, 429, 500, 502, 503, 504)
