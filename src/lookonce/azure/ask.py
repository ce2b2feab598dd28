"""Asking the workspace through the SDK: quietly, again when it is busy, with refusals in one line."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.attempts import attempt
from lookonce.azure.explain import explain
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

Answer = TypeVar("Answer")


def ask(client: MLClient, request: Callable[[], Answer]) -> Answer:
    """What `request` answers. Raises LookonceError; ResourceNotFoundError stays what it is."""
    try:
        with quiet():
            return attempt(request)
    except (LookonceError, ResourceNotFoundError):
        raise
    except Exception as error:
        raise LookonceError(f"workspace {client.workspace_name}: {explain(error)}.") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the SDK's progress bars, which it prints on both streams."""
    nothing = io.StringIO()
    with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
        yield
