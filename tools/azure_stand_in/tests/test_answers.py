"""Compare the stand-in's responses with the SDK's classes, and with recorded responses of the service."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import Input, MLClient, Output
from azure.ai.ml._restclient.arm_ml_service import models
from azure.ai.ml._restclient.runhistory import models as history
from azure.ai.ml.entities import (
    AccountKeyConfiguration,
    AmlCompute,
    AzureBlobDatastore,
    BatchEndpoint,
    BuildContext,
    CodeConfiguration,
    Data,
    Environment,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
)
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from azure_stand_in import schema
from azure_stand_in.kinds import KINDS
from azure_stand_in.stand_in import RecordedRequest, StandIn
from azure_stand_in.tests.recorded import FIELDS, SOURCES, strays
from azure_stand_in.tests.submitting import code, submit
from azure_stand_in.workspace import PATH

_BELOW = re.compile(re.escape(PATH) + r"(?:/(.*))?$", re.IGNORECASE)
_OPERATION = re.compile(r"/(mfe|compute)OperationsStatus/")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RecordedRequest]]:
    """Record every request and response of a tour of all kinds, on a separate stand-in.

    The lists of the shared stand-in have resources of other tests: an attached cluster has other fields.
    """
    own = StandIn(tmp_path_factory.mktemp("azure_ml"))
    with contextlib.closing(own), pytest.MonkeyPatch.context() as environment:
        for name, value in own.environment.items():
            environment.setenv(name, value)
        # The SDK sets it, and would read it again.
        environment.setenv("AZUREML_CURRENT_CLOUD", own.cloud_name)
        environment.delenv("AZUREML_CURRENT_CLOUD")
        _walk(own, tmp_path_factory.mktemp("walk"))
        yield list(own.requests)


def _walk(stand_in: StandIn, folder: Path) -> None:
    client = stand_in.client()
    file = folder / "data.txt"
    file.write_text("content")
    client.workspaces.get(client.workspace_name)
    client.datastores.get_default()
    key = AccountKeyConfiguration(account_key=stand_in.storage.key)
    client.datastores.create_or_update(
        AzureBlobDatastore(
            name="answers", account_name=stand_in.storage.account, container_name="answers", credentials=key
        )
    )
    list(client.datastores.list())
    client.data.create_or_update(Data(name="answers", path=str(file), type="uri_file"))
    client.data.get("answers", label="latest")
    list(client.data.list())
    client.models.create_or_update(Model(name="answers", path=str(file), type="custom_model"))
    list(client.models.list())
    _environments(client, folder)
    _jobs(stand_in, client, folder, file)
    _endpoints(client, folder)
    _refusals(client)


def _environments(client: MLClient, folder: Path) -> None:
    conda = {"name": "x", "dependencies": ["python=3.11"]}
    client.environments.create_or_update(
        Environment(name="answers", image="mcr.example/plain:1", conda_file=conda)
    )
    (folder / "context").mkdir()
    (folder / "context" / "Dockerfile").write_text("FROM mcr.example/plain:1\n")
    client.environments.create_or_update(
        Environment(name="answers", build=BuildContext(path=str(folder / "context")))
    )
    client.environments.get("answers", label="latest")
    list(client.environments.list())


def _jobs(stand_in: StandIn, client: MLClient, folder: Path, file: Path) -> None:
    named: dict[str, Any] = {
        "inputs": {"one": Input(type="uri_file", path=str(file)), "two": 2},
        "outputs": {"three": Output(type="uri_folder", mode="rw_mount")},
    }
    submit(client, "answers-good", code(folder / "code", "print('good')"), "${{inputs.one}}", **named)
    submit(client, "answers-bad", code(folder / "bad", "raise SystemExit(3)"))
    for name in ("answers-good", "answers-bad"):
        stand_in.jobs.wait(name)
        client.jobs.get(name)
        client.jobs._runs_operations._operation.get_details(
            client.subscription_id, client.resource_group_name, client.workspace_name, name
        )
    list(client.jobs.list())
    client.compute.get("two-nodes")
    list(client.compute.list())
    client.compute.begin_create_or_update(AmlCompute(name="leaving", size="Standard_DS3_v2")).result()
    client.compute.begin_delete("leaving").result()


def _endpoints(client: MLClient, folder: Path) -> None:
    client.online_endpoints.begin_create_or_update(
        ManagedOnlineEndpoint(name="answers-online", auth_mode="key")
    ).result()
    (folder / "score").mkdir()
    (folder / "score" / "score.py").write_text("raise SystemExit(3)")
    wanted = ManagedOnlineDeployment(
        name="blue",
        endpoint_name="answers-online",
        environment=Environment(image="mcr.example/inference:1"),
        code_configuration=CodeConfiguration(code=str(folder / "score"), scoring_script="score.py"),
        instance_type="Standard_DS3_v2",
        instance_count=1,
    )
    with pytest.raises(HttpResponseError):
        client.online_deployments.begin_create_or_update(wanted).result()
    client.online_deployments.get("blue", "answers-online")
    list(client.online_deployments.list("answers-online"))
    list(client.online_endpoints.list())
    client.online_endpoints.begin_delete("answers-online").result()
    client.batch_endpoints.begin_create_or_update(BatchEndpoint(name="answers-batch")).result()
    client.batch_endpoints.get("answers-batch")
    client.batch_endpoints.begin_delete("answers-batch").result()


def _refusals(client: MLClient) -> None:
    refused: list[Callable[[], Any]] = [
        lambda: client.models.get("answers", "77"),
        lambda: client.compute.get("nobody"),
        lambda: client.jobs.get("nobody"),
    ]
    for act in refused:
        with pytest.raises(ResourceNotFoundError):
            act()


def responses(walk: list[RecordedRequest]) -> Iterator[tuple[str, str, Any]]:
    """Yield (kind, path, response) of every returned resource, alone or in a list."""
    for one in walk:
        found = _BELOW.match(one.path.rstrip("/"))
        if found is None or one.status >= 300 or not isinstance(one.got, dict):
            continue
        parts = (found[1] or "").split("/")
        if parts == [""]:
            yield "workspace", one.path, one.got
        elif one.method == "POST":
            yield f"{'/'.join(parts[:-1][::2])} {parts[-1]}", one.path, one.got
        else:
            kind = "/".join(parts[::2])
            for item in one.got["value"] if len(parts) % 2 else [one.got]:
                yield kind, one.path, item


def test_responses_fit_the_sdks_classes(walk: list[RecordedRequest]):
    wrong, seen = set(), set()
    for kind, path, answer in responses(walk):
        body = models.Workspace if kind == "workspace" else KINDS[kind].body if kind in KINDS else None
        if body is not None:
            seen.add(kind)
            found = {f"{path}: {one}" for one in schema.complaints(answer, body, answer=True)}
            # Only the recorded responses decide which fields exist: versions of the interface differ.
            wrong |= {one for one in found if kind not in FIELDS or "could not find member" not in one}
    assert sorted(wrong) == []
    assert seen >= {"workspace", *SOURCES} & {"workspace", *KINDS}


def test_responses_are_like_the_recorded_ones(walk: list[RecordedRequest]):
    wrong, seen = set(), set()
    for kind, _, answer in responses(walk):
        if kind in FIELDS:
            seen.add(kind)
            wrong |= {f"{kind}: {one}" for one in strays(answer, kind)}
        if kind == "jobs":
            for part, fields in (
                ("inputs", "job input"),
                ("outputs", "job output"),
                ("services", "job service"),
            ):
                for item in answer["properties"][part].values():
                    wrong |= {f"{fields}: {one}" for one in strays(item, fields)}
    assert sorted(wrong) == []
    assert seen == set(SOURCES) - {"operation", "error"}


def test_operations_are_like_the_recorded_ones(walk: list[RecordedRequest]):
    answers = [one.got for one in walk if _OPERATION.search(one.path)]
    assert {one["status"] for one in answers} >= {"Succeeded", "Failed"}
    assert sorted({stray for one in answers for stray in strays(one, "operation")}) == []
    (failed,) = [one for one in answers if one["status"] == "Failed"]
    assert list(strays(failed["error"], "error")) == []


def test_errors_are_like_the_recorded_ones(walk: list[RecordedRequest]):
    wrong, count = set(), 0
    for one in walk:
        if one.status < 400:
            continue
        count += 1
        assert set(one.got) == {"error"}, one
        wrong |= set(strays(one.got["error"], "error"))
        for detail in one.got["error"].get("details", []):
            wrong |= set(strays(detail, "error detail"))
        for info in one.got["error"].get("additionalInfo", []):
            wrong |= set(strays(info, "error info"))
    assert count > 3
    assert sorted(wrong) == []


def test_run_details_are_of_the_sdks_class(walk: list[RecordedRequest]):
    answers = [one.got for one in walk if one.path.endswith("/details")]
    assert {one["status"] for one in answers} == {"Completed", "Failed"}
    assert {
        one for answer in answers for one in schema.complaints(answer, history.RunDetails, answer=True)
    } == set()
