"""Test batch endpoints with the unmodified SDK: jobs really run a scoring script."""

from __future__ import annotations

import uuid
from pathlib import Path

import httpx
import pytest
from azure.ai.ml import Input, MLClient
from azure.ai.ml.constants import AssetTypes, BatchDeploymentOutputAction
from azure.ai.ml.entities import (
    AmlCompute,
    BatchEndpoint,
    BatchRetrySettings,
    CodeConfiguration,
    Environment,
    Model,
    ModelBatchDeployment,
    ModelBatchDeploymentSettings,
)
from azure.core.exceptions import HttpResponseError

from azure_stand_in.stand_in import StandIn
from waiting import wait_until

CONDA = {
    "dependencies": [
        "python=3.11",
        {"pip": ["azureml-core==1.61.0", "azureml-dataset-runtime[fuse]==1.62.0"]},
    ]
}
SCRIPT = """
import os, pathlib, time
import beside

def init():
    global word
    (path,) = pathlib.Path(os.environ["AZUREML_MODEL_DIR"]).rglob("word.txt")
    word = path.relative_to(os.environ["AZUREML_MODEL_DIR"]).parts[0] + "/" + path.read_text()

def run(mini_batch):
    print("batch of", len(mini_batch), os.environ["WHO"])
    if os.environ.get("SLEEP"):
        time.sleep(float(os.environ["SLEEP"]))
    good = [path for path in mini_batch if "bad" not in path]
    return [f"{beside.JOINED}:{pathlib.Path(path).name}:{word}" for path in good]
"""


@pytest.fixture
def name() -> str:
    return f"b-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def client(stand_in: StandIn) -> MLClient:
    return stand_in.client()


@pytest.fixture
def cluster(client: MLClient, name: str) -> str:
    wanted = AmlCompute(name=f"c{name[2:12]}x", size="STANDARD_DS3_V2", max_instances=1)
    return client.compute.begin_create_or_update(wanted).result().name


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for path in ("a.jpg", "b.jpg", "more/c.jpg", "more/bad.jpg"):
        (folder / path).write_bytes(b"x")
    return folder


def deployment(tmp_path: Path, endpoint: str, cluster: str, **settings: object) -> ModelBatchDeployment:
    code, model = tmp_path / "code", tmp_path / "model"
    for folder in (code, model):
        folder.mkdir(exist_ok=True)
    (code / "batch.py").write_text(SCRIPT)
    (code / "beside.py").write_text("JOINED = 'joined'\n")
    (model / "word.txt").write_text("hello")
    conda = settings.pop("conda", CONDA)
    return ModelBatchDeployment(
        name="only",
        endpoint_name=endpoint,
        model=Model(path=str(model)),
        code_configuration=CodeConfiguration(code=str(code), scoring_script="batch.py"),
        environment=Environment(image="mcr.microsoft.com/azureml/base", conda_file=conda),
        compute=cluster,
        settings=ModelBatchDeploymentSettings(
            **{
                "mini_batch_size": 3,
                "output_action": BatchDeploymentOutputAction.APPEND_ROW,
                "retry_settings": BatchRetrySettings(max_retries=1, timeout=30),
                "environment_variables": {"WHO": "batch"},
                **settings,
            }
        ),
    )


def make(client: MLClient, name: str, wanted: ModelBatchDeployment) -> None:
    client.batch_endpoints.begin_create_or_update(BatchEndpoint(name=name)).result()
    client.batch_deployments.begin_create_or_update(wanted).result()
    endpoint = client.batch_endpoints.get(name)
    endpoint.defaults = {"deployment_name": "only"}
    client.batch_endpoints.begin_create_or_update(endpoint).result()


def ended(client: MLClient, job: str) -> str:
    wait_until(lambda: client.jobs.get(job).status in ("Completed", "Failed", "Canceled"))
    return client.jobs.get(job).status


def test_a_folder_is_scored_into_one_file(
    stand_in: StandIn, client: MLClient, name: str, cluster: str, images: Path, tmp_path: Path
):
    make(client, name, deployment(tmp_path, name, cluster, error_threshold=1))
    data = Input(type=AssetTypes.URI_FOLDER, path=str(images))
    job = client.batch_endpoints.invoke(endpoint_name=name, input=data)
    assert ended(client, job.name) == "Completed", stand_in.jobs.errors
    (step,) = client.jobs.list(parent_job_name=job.name)
    assert (step.status, step.display_name) == ("Completed", "batchscoring")
    client.jobs.download(job.name, download_path=tmp_path / "got")
    (file,) = (tmp_path / "got").rglob("predictions.csv")
    assert file.read_text().splitlines() == [
        f"joined:{image}:model/hello" for image in ("a.jpg", "b.jpg", "c.jpg")
    ]
    log = next(one for one in stand_in.storage.names("azureml-artifacts", "") if step.name in one)
    assert "batch of 3 batch" in stand_in.storage.read("azureml-artifacts", log).decode()
    assert [one.name for one in client.batch_endpoints.list_jobs(name)] == [job.name]
    assert [one.name for one in client.batch_deployments.list_jobs(name, name="only")] == [job.name]
    with pytest.raises(HttpResponseError, match="is the endpoint's default"):
        client.batch_deployments.begin_delete("only", name)
    client.batch_endpoints.begin_delete(name).result()


def test_too_many_failed_files_fail_the_job(
    stand_in: StandIn, client: MLClient, name: str, cluster: str, images: Path, tmp_path: Path
):
    make(client, name, deployment(tmp_path, name, cluster, error_threshold=0))
    data = Input(type=AssetTypes.URI_FOLDER, path=str(images))
    job = client.batch_endpoints.invoke(endpoint_name=name, input=data)
    assert ended(client, job.name) == "Failed"
    assert "error threshold 0 is exceeded" in stand_in.jobs.errors[job.name]["error"]["message"]


def test_a_job_is_canceled_with_its_step(
    stand_in: StandIn, client: MLClient, name: str, cluster: str, images: Path, tmp_path: Path
):
    slow = {"WHO": "slow", "SLEEP": "600"}
    make(client, name, deployment(tmp_path, name, cluster, environment_variables=slow))
    data = Input(type=AssetTypes.URI_FILE, path=str(images / "a.jpg"))
    job = client.batch_endpoints.invoke(endpoint_name=name, input=data)
    wait_until(lambda: client.jobs.get(job.name).status == "Running")
    client.jobs.begin_cancel(job.name).result()
    assert ended(client, job.name) == "Canceled"


def test_an_environment_without_the_drivers_packages_fails(
    stand_in: StandIn, client: MLClient, name: str, cluster: str, images: Path, tmp_path: Path
):
    bare = {"dependencies": ["python=3.11", {"pip": ["azureml-core"]}]}
    make(client, name, deployment(tmp_path, name, cluster, conda=bare))
    data = Input(type=AssetTypes.URI_FOLDER, path=str(images))
    job = client.batch_endpoints.invoke(endpoint_name=name, input=data)
    assert ended(client, job.name) == "Failed"
    assert "azureml.dataprep" in stand_in.jobs.errors[job.name]["error"]["message"]


def test_what_azure_refuses_is_refused(
    stand_in: StandIn, client: MLClient, name: str, cluster: str, images: Path, tmp_path: Path
):
    with pytest.raises(HttpResponseError, match="authMode key is not supported"):
        client.batch_endpoints.begin_create_or_update(BatchEndpoint(name=name, auth_mode="key"))
    endpoint = BatchEndpoint(name=name)
    url = client.batch_endpoints.begin_create_or_update(endpoint).result().scoring_uri
    endpoint.defaults = {"deployment_name": "nobody"}
    with pytest.raises(HttpResponseError, match="default deployment 'nobody' does not exist"):
        client.batch_endpoints.begin_create_or_update(endpoint)
    with pytest.raises(HttpResponseError, match="needs a compute"):
        client.batch_deployments.begin_create_or_update(deployment(tmp_path, name, None))
    with pytest.raises(HttpResponseError, match="miniBatchSize must be 1"):
        client.batch_deployments.begin_create_or_update(
            deployment(tmp_path, name, cluster, mini_batch_size=0)
        )
    client.batch_deployments.begin_create_or_update(deployment(tmp_path, name, cluster)).result()
    bearer = {"Authorization": f"Bearer {stand_in.tokens.make('https://ml.azure.com')}"}
    good = {"inputData": {"a": {"jobInputType": "UriFolder", "uri": "azureml://datastores/x/paths/y"}}}

    def refusal(properties: object, **headers: str) -> tuple[int, str]:
        answer = httpx.post(url, json={"properties": properties}, headers={**bearer, **headers})
        return answer.status_code, answer.json()["error"]["message"]

    assert httpx.post(url, json={"properties": good}).status_code == 401
    other = f"Bearer {stand_in.tokens.make('https://management.azure.com')}"
    assert refusal(good, Authorization=other)[0] == 401
    assert "has no default deployment" in refusal(good)[1]
    chosen = {"azureml-model-deployment": "only"}
    for wrong, expected in (
        ({"inputs": {}}, "could not find member 'inputs'"),
        ({}, "takes one input of data, and got 0"),
        ({"inputData": {"a": {"jobInputType": "uri_folder", "uri": "x"}}}, "is none of UriFile, UriFolder"),
        ({"inputData": {"a": {"jobInputType": "UriFolder"}}}, "uri: the field is required"),
        ({**good, "miniBatchSize": "3"}, "is not int"),
        ({**good, "outputFileName": "../up"}, "is no file's name"),
    ):
        status, message = refusal(wrong, **chosen)
        assert status == 400
        assert expected in message
    assert refusal(good, **{"azureml-model-deployment": "nobody"})[0] == 404
    client.batch_endpoints.begin_delete(name).result()
