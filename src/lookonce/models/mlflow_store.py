"""MLflow as lookonce uses it: where its database lies, and a client that waits seconds, not minutes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
# What runs and models leave beside their rows.
FILES = "mlartifacts"
# A server that doesn't answer is to cost seconds, not the minutes of MLflow's defaults.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def store_address(folder: Path) -> str:
    """Of the store in use: the variable MLFLOW_TRACKING_URI, else `mlflow.db` in `folder`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / DATABASE).resolve()}"


def files_folder(address: str) -> Path | None:
    """Beside a local database, where files go; None for a server, which has a place of its own."""
    return (
        Path(address.removeprefix("sqlite:///")).parent / FILES if address.startswith("sqlite:///") else None
    )


def open_client(address: str) -> MlflowClient:
    """A client of tracking and registry. Raises LookonceError when MLflow isn't installed."""
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    try:
        import logging

        from mlflow import MlflowClient
    except ImportError as error:
        raise LookonceError(
            f"{error.name} is not installed. Install it with: pip install 'lookonce[track]'"
        ) from error
    # A new database is told table by table otherwise.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=address, registry_uri=address)
