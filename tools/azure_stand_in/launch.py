"""Environment variables of a job's processes: their rank, and the other processes."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Variables of this process that a node of a cluster does not have.
_PRIVATE = (
    "AZUREML_",
    "AZURE_",
    "MLFLOW_",
    "AML_",
    "STORAGE_",
    "IDENTITY_",
    "PYTEST_",
    "WEBSERVICE_",
    "LOOKONCE_AZURE",
    "MSI_",
)


def node(trust: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a node, with this Python on the PATH, and the variables `trust` for TLS."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**clean, **trust, "PATH": path, "PYTHONUNBUFFERED": "1"}


def processes(distribution: Mapping[str, Any] | None, nodes: int) -> list[dict[str, str]]:
    """Return the launcher's variables for every process of a job; one process without a launcher."""
    kind = (distribution or {}).get("distributionType")
    if distribution is None or kind is None:
        return [{} for _ in range(nodes)] if nodes == 1 else [_plain(rank, nodes) for rank in range(nodes)]
    if kind == "TensorFlow":
        return _tensorflow(distribution)
    each = int(distribution.get("processCountPerInstance") or 1)
    name = "PyTorch" if kind == "PyTorch" else "Mpi"
    port = free_port()
    return [_of(name, rank, each, nodes, port) for rank in range(each * nodes)]


def _plain(rank: int, nodes: int) -> dict[str, str]:
    return {"AZUREML_NODE_COUNT": str(nodes), "NODE_RANK": str(rank)}


def _of(kind: str, rank: int, each: int, nodes: int, port: int) -> dict[str, str]:
    shared = {"AZUREML_NODE_COUNT": str(nodes), "NODE_RANK": str(rank // each)}
    if kind == "Mpi":
        return {
            **shared,
            "OMPI_COMM_WORLD_RANK": str(rank),
            "OMPI_COMM_WORLD_SIZE": str(each * nodes),
            "OMPI_COMM_WORLD_LOCAL_RANK": str(rank % each),
            "OMPI_COMM_WORLD_LOCAL_SIZE": str(each),
        }
    return {
        **shared,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(each * nodes),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank % each),
    }


def _tensorflow(distribution: Mapping[str, Any]) -> list[dict[str, str]]:
    counts = {"worker": int(distribution.get("workerCount") or 1)}
    if servers := int(distribution.get("parameterServerCount") or 0):
        counts["ps"] = servers
    cluster = {task: [f"127.0.0.1:{free_port()}" for _ in range(count)] for task, count in counts.items()}
    return [
        {
            "TF_CONFIG": json.dumps(
                {"cluster": cluster, "task": {"type": task, "index": index}, "environment": "cloud"}
            )
        }
        for task, count in counts.items()
        for index in range(count)
    ]


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
