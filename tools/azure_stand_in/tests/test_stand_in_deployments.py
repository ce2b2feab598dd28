"""Test online endpoints with the unmodified SDK: serve, share traffic, log, fail, delete."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from pathlib import Path

import httpx
import psutil
import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.constants._endpoint import EndpointInvokeFields
from azure.ai.ml.entities import (
    CodeConfiguration,
    Environment,
    KubernetesCompute,
    KubernetesOnlineDeployment,
    KubernetesOnlineEndpoint,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
)
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from azure_stand_in.endpoint_place import INFERENCE_SERVER
from azure_stand_in.stand_in import StandIn
from lookonce.export import export_onnx
from requirements import missing
from serving_process import fastest
from waiting import PATIENCE_SECONDS, wait_until

CONDA = {"name": "serve", "dependencies": ["python=3.11", {"pip": ["azureml-inference-server-http==1.5.1"]}]}
ROUTES = {
    "liveness_route": {"port": 8080, "path": "/health"},
    "readiness_route": {"port": 8080, "path": "/ready"},
    "scoring_route": {"port": 8080, "path": "/score"},
}
SCRIPT = """
import glob, json, os, sys, time
from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse

def init():
    global text
    (path,) = glob.glob(os.environ["AZUREML_MODEL_DIR"] + "/**/*.txt", recursive=True)
    text = open(path).read()
    print("loaded", text, flush=True)
    if os.environ.get("BREAK"):
        raise RuntimeError("the model is broken")

@rawhttp
def run(request):
    if request.args.get("sleep"):
        time.sleep(float(request.args["sleep"]))
    answer = {"text": text, "who": os.environ.get("WHO"), "sent": request.get_data().decode()}
    return AMLResponse(json.dumps(answer), int(request.args.get("status", 200)))
"""


@pytest.fixture
def name() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def client(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> MLClient:
    # The SDK keeps the key and deployment of one `invoke` for every later one.
    monkeypatch.setattr(EndpointInvokeFields, "DEFAULT_HEADER", dict(EndpointInvokeFields.DEFAULT_HEADER))
    return stand_in.client()


@pytest.fixture
def endpoint(client: MLClient, name: str) -> ManagedOnlineEndpoint:
    return client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name)).result()


def scripted(tmp_path: Path, endpoint: str, name: str, **options: object) -> ManagedOnlineDeployment:
    """Return a deployment of a text file, whose script responds with the text."""
    if not INFERENCE_SERVER.exists():
        missing(f"azureml-inference-server-http is not installed in {INFERENCE_SERVER.parents[1]}")
    code = tmp_path / f"code-{name}"
    code.mkdir()
    (code / "entry.py").write_text(SCRIPT)
    model = tmp_path / f"model-{name}.txt"
    model.write_text(f"text of {name}")
    return ManagedOnlineDeployment(
        **{
            "name": name,
            "endpoint_name": endpoint,
            "model": Model(path=str(model)),
            "code_configuration": CodeConfiguration(code=str(code), scoring_script="entry.py"),
            "environment": Environment(image="mcr.microsoft.com/azureml/base", conda_file=CONDA),
            "environment_variables": {"WHO": name},
            "instance_type": "Standard_DS3_v2",
            "instance_count": 1,
            **options,
        }
    )


def request(url: str, key: str | None, **options: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    headers |= options.pop("headers", {})
    return httpx.post(url, headers=headers, timeout=PATIENCE_SECONDS, **options)


def set_traffic(client: MLClient, name: str, **traffic: int) -> ManagedOnlineEndpoint:
    endpoint = client.online_endpoints.get(name)
    endpoint.traffic = traffic
    return client.online_endpoints.begin_create_or_update(endpoint).result()


def processes_of(stand_in: StandIn, endpoint: str) -> list[psutil.Process]:
    """Return all processes of an endpoint."""
    running = stand_in.deployments.fronts[f"onlineendpoints/{endpoint}"].running.values()
    pids = [container.process.pid for one in running for container in one.containers]
    return [one for pid in pids for one in (psutil.Process(pid), *psutil.Process(pid).children(True))]


def test_two_scripts_share_the_traffic_until_both_are_deleted(
    stand_in: StandIn, client: MLClient, endpoint: ManagedOnlineEndpoint, tmp_path: Path
):
    name, url = endpoint.name, endpoint.scoring_uri
    key = client.online_endpoints.get_keys(name).primary_key
    deployments = client.online_deployments
    made = [
        deployments.begin_create_or_update(scripted(tmp_path, name, colour)) for colour in ("blue", "green")
    ]
    assert [one.result().provisioning_state for one in made] == ["Succeeded"] * 2
    assert request(url, key).status_code == 404
    assert set_traffic(client, name, blue=90, green=10).traffic == {"blue": 90, "green": 10}
    assert request(url, None).status_code == request(url, "wrong").status_code == 401
    answers = [request(url, key, content=b"hello") for _ in range(10)]
    assert Counter(answer.json()["who"] for answer in answers) == {"blue": 9, "green": 1}
    assert answers[0].json() == {"text": "text of blue", "who": "blue", "sent": "hello"}
    chosen = request(url, key, headers={"azureml-model-deployment": "green"})
    assert (chosen.json()["who"], chosen.headers["azureml-model-deployment"]) == ("green", "green")
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"data": [1]}))
    printed = client.online_endpoints.invoke(name, request_file=str(file), deployment_name="green")
    assert json.loads(printed)["sent"] == '{"data": [1]}'
    assert "loaded text of blue" in deployments.get_logs("blue", name, lines=200)
    assert len(deployments.get_logs("blue", name, lines=2).splitlines()) == 3
    with pytest.raises(HttpResponseError, match="has 10% of the endpoint's traffic"):
        deployments.begin_delete("green", name)
    set_traffic(client, name, blue=100)
    family = processes_of(stand_in, name)
    deployments.begin_delete("green", name).result()
    assert [one.name for one in deployments.list(name)] == ["blue"]
    assert request(url, key).json()["who"] == "blue"
    client.online_endpoints.begin_delete(name).result()
    assert len(family) > 2
    assert psutil.wait_procs(family, PATIENCE_SECONDS)[1] == []
    with pytest.raises(ResourceNotFoundError):
        client.online_endpoints.get(name)
    assert request(url, key).status_code in (401, 404)


def test_a_managed_endpoint_has_status_codes_of_its_own(
    client: MLClient, endpoint: ManagedOnlineEndpoint, tmp_path: Path
):
    name, url = endpoint.name, endpoint.scoring_uri
    settings = OnlineRequestSettings(request_timeout_ms=1000)
    client.online_deployments.begin_create_or_update(
        scripted(tmp_path, name, "only", request_settings=settings)
    ).result()
    set_traffic(client, name, only=100)
    key = client.online_endpoints.get_keys(name).primary_key
    failed = request(f"{url}?status=415", key)
    assert failed.status_code == 424
    assert failed.headers["ms-azureml-model-error-statuscode"] == "415"
    assert failed.json()["who"] == "only"
    client.online_endpoints.begin_regenerate_keys(name, key_type="primary").result()
    keys = client.online_endpoints.get_keys(name)
    assert keys.primary_key != key
    assert request(url, key).status_code == 401
    assert request(url, keys.primary_key).status_code == request(url, keys.secondary_key).status_code == 200
    assert request(f"{url}?sleep=3", keys.primary_key).status_code == 408
    client.online_endpoints.begin_delete(name).result()


def test_a_script_that_fails_says_why_in_its_log(
    stand_in: StandIn, client: MLClient, endpoint: ManagedOnlineEndpoint, tmp_path: Path
):
    name = endpoint.name
    broken = scripted(tmp_path, name, "broken", environment_variables={"BREAK": "1"})
    with pytest.raises(HttpResponseError, match="ResourceNotReady: User container has crashed"):
        client.online_deployments.begin_create_or_update(broken).result()
    assert client.online_deployments.get("broken", name).provisioning_state == "Failed"
    log = client.online_deployments.get_logs("broken", name, lines=100)
    assert "the model is broken" in log
    assert "Traceback" in log
    assert processes_of(stand_in, name) == []
    with pytest.raises(HttpResponseError, match="Traffic cannot go to the deployment 'broken'"):
        set_traffic(client, name, broken=100)
    broken.environment_variables = {}
    with pytest.raises(HttpResponseError, match=r"unrecoverable state\. Delete and re-create"):
        client.online_deployments.begin_create_or_update(broken)
    client.online_deployments.begin_delete("broken", name).result()
    client.online_deployments.begin_create_or_update(broken).result()
    # A failed update keeps the old container.
    set_traffic(client, name, broken=100)
    broken.environment_variables = {"BREAK": "1"}
    with pytest.raises(HttpResponseError, match="ResourceNotReady"):
        client.online_deployments.begin_create_or_update(broken).result()
    key = client.online_endpoints.get_keys(name).primary_key
    assert request(endpoint.scoring_uri, key).json()["text"] == "text of broken"
    client.online_endpoints.begin_delete(name).result()


def test_the_projects_own_image_serves_a_registered_model(
    stand_in: StandIn, client: MLClient, endpoint: ManagedOnlineEndpoint, shared: Path, tmp_path: Path
):
    name = endpoint.name
    cfg, _, weights, _, classes = fastest(shared)
    export_onnx(cfg, tmp_path / "model" / "dogs.onnx", weights=weights, classes=classes)
    model = client.models.create_or_update(Model(name=name, path=str(tmp_path / "model")))
    key = client.online_endpoints.get_keys(name).primary_key
    image = (shared / "images" / "dog.jpg").read_bytes()

    def deployment(**variables: str) -> ManagedOnlineDeployment:
        return ManagedOnlineDeployment(
            name="image",
            endpoint_name=name,
            model=model,
            environment=Environment(image="registry.azurecr.localhost/lookonce:1", inference_config=ROUTES),
            environment_variables=variables,
            instance_type="Standard_DS3_v2",
            instance_count=1,
        )

    with pytest.raises(HttpResponseError, match="ResourceNotReady"):
        client.online_deployments.begin_create_or_update(deployment()).result()
    assert "WEBSERVICE_KEY" in client.online_deployments.get_logs("image", name, lines=20)
    client.online_deployments.begin_delete("image", name).result()
    client.online_deployments.begin_create_or_update(deployment(WEBSERVICE_KEY=key)).result()
    set_traffic(client, name, image=100)
    url = client.online_endpoints.get(name).scoring_uri
    jpeg = {"Content-Type": "image/jpeg"}
    reply = request(url, key, content=image, headers=jpeg)
    assert reply.status_code == 200, reply.text
    assert len(reply.json()[0]["boxes"]) >= 3
    assert request(url, None, content=image, headers=jpeg).status_code == 401
    family = processes_of(stand_in, name)
    client.online_endpoints.begin_delete(name).result()
    assert psutil.wait_procs(family, PATIENCE_SECONDS)[1] == []


def test_a_kubernetes_endpoint_takes_tokens_and_passes_statuses_on(
    stand_in: StandIn, client: MLClient, name: str, tmp_path: Path
):
    cluster = f"k8s-{name[2:10]}a"
    group = f"/subscriptions/{client.subscription_id}/resourceGroups/{client.resource_group_name}"
    resource = f"{group}/providers/Microsoft.ContainerService/managedClusters/{cluster}"
    with pytest.raises(ResourceNotFoundError):
        client.online_endpoints.begin_create_or_update(KubernetesOnlineEndpoint(name=name, compute=cluster))
    client.compute.begin_create_or_update(
        KubernetesCompute(name=cluster, resource_id=resource, namespace="default")
    ).result()
    made = client.online_endpoints.begin_create_or_update(
        KubernetesOnlineEndpoint(name=name, compute=cluster, auth_mode="aml_token")
    ).result()
    assert isinstance(made, KubernetesOnlineEndpoint)
    managed = scripted(tmp_path, name, "managed")
    with pytest.raises(HttpResponseError, match="must have the endpointComputeType Kubernetes"):
        client.online_deployments.begin_create_or_update(managed)
    deployment = KubernetesOnlineDeployment(
        name="blue",
        endpoint_name=name,
        model=managed.model,
        code_configuration=managed.code_configuration,
        environment=managed.environment,
        environment_variables={"WHO": "kubernetes"},
        request_settings=OnlineRequestSettings(request_timeout_ms=1000),
        instance_count=2,
    )
    client.online_deployments.begin_create_or_update(deployment).result()
    assert len(stand_in.deployments.fronts[f"onlineendpoints/{name}"].running["blue"].containers) == 2
    set_traffic(client, name, blue=100)
    url, token = made.scoring_uri, client.online_endpoints.get_keys(name).access_token
    assert request(url, token).json()["who"] == "kubernetes"
    assert request(url, token[:-6] + "abcdef").status_code == request(url, None).status_code == 401
    assert request(f"{url}?status=415", token).status_code == 415
    assert request(f"{url}?sleep=2", token).status_code == 504
    # A crashed container is restarted; meanwhile the other responds.
    (container, other) = stand_in.deployments.fronts[f"onlineendpoints/{name}"].running["blue"].containers
    family = [psutil.Process(container.process.pid)]
    family += family[0].children(recursive=True)
    container.process.kill()
    container.process.wait()
    assert sorted({request(url, token).status_code for _ in range(2)}) == [200, 502]
    wait_until(lambda: {request(url, token).status_code for _ in range(2)} == {200})
    assert other.alive
    assert psutil.wait_procs(family, PATIENCE_SECONDS)[1] == []
    client.online_endpoints.begin_delete(name).result()


def test_what_azure_refuses_is_refused(client: MLClient, endpoint: ManagedOnlineEndpoint, tmp_path: Path):
    name = endpoint.name
    endpoint.traffic = {"nobody": 100}
    with pytest.raises(HttpResponseError, match="which the endpoint does not have"):
        client.online_endpoints.begin_create_or_update(endpoint)
    endpoint.traffic = {"nobody": 60}
    with pytest.raises(HttpResponseError, match="sum up to 60"):
        client.online_endpoints.begin_create_or_update(endpoint)
    service, place = (
        client.online_endpoints._online_operation,
        (client.resource_group_name, client.workspace_name),
    )
    good = {"location": "westeurope", "properties": {"authMode": "Key"}}
    for wrong, expected in (
        ({**good, "properties": {"authMode": "None"}}, "'None' is none of AMLToken, Key, AADToken"),
        ({**good, "properties": {"authMode": "Key", "colour": "red"}}, "could not find member 'colour'"),
        ({"properties": {"authMode": "Key"}}, "location: the field is required"),
        ({**good, "properties": {"authMode": "Key", "scoringUri": "http://a"}}, "scoringUri: is read-only"),
    ):
        with pytest.raises(HttpResponseError, match=re.escape(expected)):
            service.begin_create_or_update(*place, name, wrong)
    for short in ("ab", "1abc", "abc-", "x" * 33):
        with pytest.raises(HttpResponseError, match=r"Endpoint name .* is invalid"):
            service.begin_create_or_update(*place, short, good)
    with pytest.raises(HttpResponseError, match="could not find member 'properties'"):
        service.begin_update(*place, name, {"properties": {"description": "no"}})
    changed = service.begin_update(*place, name, {"tags": {"a": "b"}}).result()
    assert (changed.tags, changed.properties.auth_mode) == ({"a": "b"}, "Key")
    without = scripted(tmp_path, name, "without", instance_type=None)
    with pytest.raises(HttpResponseError, match="InstanceType is required"):
        client.online_deployments.begin_create_or_update(without)
    other = Environment(image="nowhere.localhost/other:1", inference_config=ROUTES)
    unknown = scripted(tmp_path, name, "unknown", environment=other, code_configuration=None)
    with pytest.raises(HttpResponseError, match="Unable to download user container image"):
        client.online_deployments.begin_create_or_update(unknown).result()
    bare = Environment(image="mcr.microsoft.com/azureml/base", conda_file={"dependencies": ["python=3.11"]})
    with pytest.raises(HttpResponseError, match="ResourceNotReady"):
        client.online_deployments.begin_create_or_update(
            scripted(tmp_path, name, "bare", environment=bare)
        ).result()
    assert "azureml-inference-server-http is missing" in client.online_deployments.get_logs("bare", name, 9)
    client.online_endpoints.begin_delete(name).result()
