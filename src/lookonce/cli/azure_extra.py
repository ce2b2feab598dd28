"""For commands that need the Azure extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lookonce.errors import LookonceError


@contextmanager
def needs_azure() -> Iterator[None]:
    """Around imports of lookonce.azure's modules. Raises LookonceError where the extra isn't installed."""
    try:
        yield
    except ImportError as error:
        raise LookonceError(
            f"{error.name} is not installed. Install it with: pip install 'lookonce[azure]'"
        ) from error
