"""Test that the unmodified SDK creates, reads and lists models, and transfers their files."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from azure.ai.ml.entities import Model

from azure_stand_in.stand_in import StandIn


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:11]}x"


def test_a_model_goes_in_and_comes_back(stand_in: StandIn, name: str, tmp_path: Path) -> None:
    client = stand_in.client()
    file = tmp_path / "cars.onnx"
    file.write_bytes(b"weights")
    made = client.models.create_or_update(
        Model(name=name, path=str(file), type="custom_model", tags={"map": "0.5"})
    )
    assert made.version == "1"
    client.models.download(name, "1", download_path=tmp_path / "back")
    assert [path.read_bytes() for path in (tmp_path / "back").rglob("*.onnx")] == [b"weights"]
    file.write_bytes(b"better weights")
    assert (
        client.models.create_or_update(Model(name=name, path=str(file), type="custom_model")).version == "2"
    )
    assert {one.version for one in client.models.list(name)} == {"1", "2"}
    assert client.models.get(name, label="latest").version == "2"
