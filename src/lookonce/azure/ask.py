"""Asking the workspace through the SDK: quietly, again when it is busy, with refusals in one line."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.attempts import attempt
from lookonce.azure.explain import explain
from lookonce.azure.refusals import leads_nowhere
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

Answer = TypeVar("Answer")

# In each the SDK itself tries four times; for the storage, with half a minute between them.
_ATTEMPTS, _WITHIN_SECONDS = 3, 45.0


def ask(client: MLClient, request: Callable[[], Answer]) -> Answer:
    """What `request` answers. Raises LookonceError.

    ResourceNotFoundError stays what it is, unless the workspace itself isn't found.
    """
    try:
        with quiet():
            return attempt(request, attempts=_ATTEMPTS, within=_WITHIN_SECONDS)
    except LookonceError:
        raise
    except Exception as error:
        if isinstance(error, ResourceNotFoundError) and not leads_nowhere(error):
            raise
        raise LookonceError(f"workspace {client.workspace_name}: {explain(error)}.") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the SDK's progress bars on both streams, and the notes that its loggers write there."""
    nothing, before = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            yield
    finally:
        logging.disable(before)
