"""Submit command jobs through the unmodified SDK, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from azure.ai.ml import MLClient, command
from azure.ai.ml.entities import AmlCompute, Environment

_PLAIN = Environment(name="plain", version="1", image="mcr.example/plain:1")


def cluster(client: MLClient) -> str:
    client.compute.begin_create_or_update(
        AmlCompute(name="two-nodes", size="Standard_DS3_v2", min_instances=0, max_instances=2)
    ).result()
    return "two-nodes"


def code(folder: Path, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "main.py").write_text(script)
    return folder


def submit(client: MLClient, name: str, code: Path, arguments: str = "", **more: Any) -> Any:
    return client.jobs.create_or_update(
        command(
            name=name,
            code=str(code),
            command=f"python main.py {arguments}",
            environment=_PLAIN,
            compute=cluster(client),
            experiment_name="stand-in",
            **more,
        )
    )
