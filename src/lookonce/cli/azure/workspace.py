"""Open the workspace of config.json for a command."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential


def add_config_argument(parser: argparse._ActionsContainer) -> None:
    """Add --config."""
    parser.add_argument("--config", type=Path, metavar="FILE|DIR", help="the workspace's config.json")


@contextmanager
def needs_azure() -> Iterator[None]:
    """Wrap imports of lookonce.azure. Raises LookonceError where the extra is not installed."""
    try:
        yield
    except ImportError as error:
        raise LookonceError(
            f"{error.name} is not installed. Install it with: pip install 'lookonce[azure]'"
        ) from error


def open_client(config: Path | None, who: TokenCredential | None = None) -> MLClient:
    """Return a client of the workspace in `config` or the nearest config.json. Raises LookonceError."""
    with needs_azure():
        from lookonce.azure.session import find_config, open_workspace
    return open_workspace(find_config(config), who)
