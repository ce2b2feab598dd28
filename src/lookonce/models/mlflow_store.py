"""MLflow's store: location of its database, and a client with short timeouts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
# Folder for the files of runs and models.
FILES = "mlartifacts"
# An unreachable server fails after seconds, not after the minutes of MLflow's defaults.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def store_address(folder: Path) -> str:
    """Return the store's address: MLFLOW_TRACKING_URI, else `mlflow.db` in `folder`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / DATABASE).resolve()}"


def files_folder(address: str) -> Path | None:
    """Return the folder for files beside a local database; None for a server."""
    return (
        Path(address.removeprefix("sqlite:///")).parent / FILES if address.startswith("sqlite:///") else None
    )


def open_client(address: str) -> MlflowClient:
    """Open a client of tracking and registry. Raises LookonceError if MLflow is not installed."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import logging

        from mlflow import MlflowClient
    except ImportError as error:
        raise LookonceError(
            f"{error.name} is not installed. Install it with: pip install 'lookonce[track]'"
        ) from error
    # Otherwise a new database is logged table by table.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=address, registry_uri=address)
