"""Test that `explain` turns Azure's errors into one line with the fix."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import (
    AmlCompute,
    CodeConfiguration,
    Environment,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
)
from azure.core.pipeline.policies import RetryPolicy
from azure.storage.blob._shared.policies import StorageRetryPolicy

from azure_stand_in.faults import BUILD_LOG
from azure_stand_in.stand_in import StandIn
from azure_stand_in.tests.submitting import code, submit
from lookonce.azure import retry
from lookonce.azure.errors import explain
from lookonce.azure.registry import AzureRegistry
from lookonce.azure.retry import call
from lookonce.azure.session import find_config, open_workspace
from lookonce.errors import LookonceError


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:11]}x"


@pytest.fixture
def client(stand_in: StandIn) -> MLClient:
    return open_workspace(find_config(stand_in.config))


def explained(act: Callable[[], Any]) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (which one it is, is the matter of `explain`)
        act()
    return explain(caught.value)


def deployment(endpoint: str, name: str, folder: Path) -> ManagedOnlineDeployment:
    folder.mkdir(exist_ok=True)
    (folder / "score.py").write_text("raise SystemExit(3)")
    return ManagedOnlineDeployment(
        name=name,
        endpoint_name=endpoint,
        environment=Environment(image="mcr.example/inference:1"),
        code_configuration=CodeConfiguration(code=str(folder), scoring_script="score.py"),
        instance_type="Standard_DS3_v2",
        instance_count=1,
    )


def test_no_cores_for_a_cluster(stand_in: StandIn, client: MLClient):
    stand_in.faults.quota("computes")
    wanted = AmlCompute(name="no-cores", size="Standard_DS3_v2", max_instances=1)
    assert explained(lambda: client.compute.begin_create_or_update(wanted).result()) == (
        "Azure answered ClusterMinNodesExceedCoreQuota: The subscription has a total vCPU quota of 0, and "
        "one node of the cluster takes 4 vCPUs; choose a smaller machine size or fewer machines, or request "
        "more in the Azure portal, under Quotas > Machine Learning"
    )
    # As in Azure, the failed cluster exists and must be deleted.
    assert client.compute.get("no-cores").provisioning_state == "Failed"
    client.compute.begin_delete("no-cores").result()


def test_an_endpoint_name_that_is_taken(stand_in: StandIn, client: MLClient, name: str):
    stand_in.faults.name_taken(name)
    wanted = ManagedOnlineEndpoint(name=name, auth_mode="key")
    assert explained(lambda: client.online_endpoints.begin_create_or_update(wanted).result()) == (
        "Azure answered 400 InferencingClientCallFailed: the name is taken by another endpoint in the "
        "region; choose another"
    )
    assert f"onlineEndpoints/{name}" not in stand_in.resources


def test_deployments_that_fail(stand_in: StandIn, client: MLClient, name: str, tmp_path: Path):
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name, auth_mode="key")).result()

    def deploy(colour: str) -> str:
        wanted = deployment(name, colour, tmp_path / "code")
        return explained(lambda: client.online_deployments.begin_create_or_update(wanted).result())

    stand_in.faults.quota("onlineEndpoints")
    assert deploy("blue") == (
        "Azure answered 400 InferencingClientCallFailed: Not enough quota available for Standard_DS3_v2 in "
        "SubscriptionId 00000000-1111-2222-3333-444444444444. Current usage/limit: 0/0. Additional needed: "
        "8; choose a smaller machine size or fewer machines, or request more in the Azure portal, under "
        "Quotas > Machine Learning"
    )
    assert f"onlineEndpoints/{name}/deployments/blue" not in stand_in.resources
    stand_in.faults.clear()
    stand_in.faults.image_build_failure("no such package")
    assert deploy("green") == (
        "Azure answered ImageBuildFailure: the environment's image failed to build; the log is in the "
        "workspace's storage, at /azureml/ImageLogs/green/build.log"
    )
    assert stand_in.storage.read("azureml", "ImageLogs/green/build.log") == b"no such package"
    stand_in.faults.clear()
    assert deploy("red") == (
        "Azure answered ResourceNotReady: User container has crashed or terminated: it exited with code 3; "
        "read the container's log (lookonce deploy logs), or run the same model on this machine (lookonce "
        "deploy local)"
    )


def test_a_job_whose_image_can_not_be_built(stand_in: StandIn, client: MLClient, name: str, tmp_path: Path):
    stand_in.faults.image_build_failure("ERROR: no such package\n")
    submit(client, name, code(tmp_path / "code", "print('never')"))
    assert stand_in.jobs.wait(name) == "Failed"
    error = stand_in.jobs.errors[name]["error"]
    assert error["message"] == f"Image build failed. For more details, check log file {BUILD_LOG}."
    assert error["innerError"]["innerError"]["code"] == "ImageBuildFailure"
    client.jobs.download(name, all=True, download_path=tmp_path / "got")
    (log,) = (tmp_path / "got").rglob(Path(BUILD_LOG).name)
    assert log.read_text() == "ERROR: no such package\n"


def test_an_existing_version_is_immutable(client: MLClient, name: str, tmp_path: Path):
    def register(content: bytes) -> Any:
        (tmp_path / "model.onnx").write_bytes(content)
        path = str(tmp_path / "model.onnx")
        return client.models.create_or_update(
            Model(name=name, version="7", path=path, type="custom_model")
        ).version

    assert register(b"one") == "7"
    assert explained(lambda: register(b"two")) == (
        "Azure answered 409 ImmutablePropertyChanged: this name and version exist with other content; "
        "choose another name or version"
    )


def test_long_operations_outlive_their_token(stand_in: StandIn, client: MLClient):
    stand_in.faults.short_tokens(2)
    stand_in.faults.slow_operations(5)
    before = stand_in.tokens.given
    wanted = AmlCompute(name="slow-one", size="Standard_DS3_v2", max_instances=1)
    assert client.compute.begin_create_or_update(wanted).result().name == "slow-one"
    assert stand_in.tokens.given > before + 1


def test_a_retry_after_of_an_hour_is_bounded(
    stand_in: StandIn, client: MLClient, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setattr(retry, "_LONGEST_SECONDS", 0.2)
    stand_in.faults.throttle(3, 3600)
    assert isinstance(call(client, lambda: list(client.compute.list())), list)
    assert [one.status for one in stand_in.requests_to("GET", "/computes")] == [429, 429, 429, 200]
    stand_in.faults.hang_up(2)
    assert isinstance(call(client, lambda: list(client.compute.list())), list)


@pytest.mark.parametrize("times", [5, 1000])
def test_a_lost_response_creates_no_second_version(
    stand_in: StandIn, client: MLClient, name: str, tmp_path: Path, monkeypatch: Any, times: int
):
    monkeypatch.setattr(RetryPolicy, "sleep", lambda *_, **__: None)
    (tmp_path / "cars.weights").write_bytes(os.urandom(100))
    # The SDK tries four times; the next attempt is ours.
    stand_in.faults.lose_answers(times, method="PUT", ending="/versions/1")
    done = AzureRegistry(client).register(tmp_path / "cars.weights", name, {}, None)
    assert done.version == "1"
    assert len(stand_in.requests_to("PUT", f"{name}/versions/1")) == min(times + 1, 12)
    assert not stand_in.requests_to("PUT", f"{name}/versions/2")


@pytest.mark.parametrize("times", [1, 1000])
def test_uploads_that_break_off(
    stand_in: StandIn, client: MLClient, name: str, tmp_path: Path, monkeypatch: Any, times: int
):
    # The SDK itself waits for 15 seconds and more.
    monkeypatch.setattr(StorageRetryPolicy, "sleep", lambda *_: None)
    (tmp_path / "cars.weights").write_bytes(os.urandom(100_000))
    stand_in.faults.drop_uploads(times, 50_000)
    registry = AzureRegistry(client)
    if times == 1:
        assert registry.register(tmp_path / "cars.weights", name, {}, None).version == "1"
        return
    with pytest.raises(LookonceError) as caught:
        registry.register(tmp_path / "cars.weights", name, {}, None)
    # On a busy machine the last attempt may end before the connection is established.
    broken = "the connection to the service was lost; check the network, then run the command again"
    absent = r"the service is unreachable \(.*\); check the network and the address"
    assert re.fullmatch(
        rf"workspace lookonce: ({broken}|{absent})\. No version of {name} was created\.", str(caught.value)
    )
    assert f"models/{name}" not in stand_in.resources


@pytest.mark.parametrize(
    ("address", "printed"),
    [
        (
            "https://127.0.0.1:9",
            "127.0.0.1 is unreachable: connection refused; check the address and the network",
        ),
        (
            "https://management.invalid",
            "management.invalid is unreachable: its name does not resolve; check the name and the network",
        ),
        (
            "https://management.beyond-the-proxy",
            "the service is unreachable through the proxy; check HTTPS_PROXY and NO_PROXY",
        ),
    ],
)
def test_an_unreachable_service(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, printed: str
):
    cloud = json.loads(Path(stand_in.environment["LOOKONCE_AZURE_CLOUD"]).read_text())
    moved = {**cloud, "name": f"{cloud['name']}{len(address)}", "resource_manager": address}
    (tmp_path / "cloud.json").write_text(json.dumps(moved))
    monkeypatch.setenv("LOOKONCE_AZURE_CLOUD", str(tmp_path / "cloud.json"))
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1,.invalid")
    client = open_workspace(find_config(stand_in.config))
    assert explained(lambda: client.compute.get("any")) == printed


def test_the_sign_in_service_is_down(stand_in: StandIn, client: MLClient):
    stand_in.faults.unavailable(1000, 0.1, ending="/oauth2/v2.0/token")
    assert explained(lambda: client.compute.get("any")) == (
        "the sign-in service returned 503: it is busy or down; try again later"
    )
