"""The stand-in for Azure Machine Learning: one for the session, fresh surroundings for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from azure_ml.stand_in import StandIn


@pytest.fixture(scope="session")
def running_stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The processes; take `stand_in` instead."""
    running = StandIn(tmp_path_factory.mktemp("azure_ml"))
    yield running
    running.close()


@pytest.fixture
def stand_in(running_stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A workspace, with `environment` set in this process while the test runs, and no faults.

    What earlier tests made in it stays; use names of your own.
    """
    for name, value in running_stand_in.environment.items():
        monkeypatch.setenv(name, value)
    # The SDK sets it, and would find it again.
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", running_stand_in.cloud_name)
    monkeypatch.delenv("AZUREML_CURRENT_CLOUD")
    running_stand_in.requests.clear()
    yield running_stand_in
    running_stand_in.faults.clear()
