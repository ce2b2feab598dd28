"""Test image builds and container groups with the unmodified SDKs."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.mgmt.containerinstance import ContainerInstanceManagementClient
from azure.mgmt.containerinstance import models as aci
from azure.mgmt.containerregistry import ContainerRegistryManagementClient
from azure.mgmt.containerregistry.v2019_06_01_preview.models import (
    DockerBuildRequest,
    PlatformProperties,
    Run,
)
from azure.storage.blob import BlobClient

from azure_stand_in.stand_in import StandIn
from azure_stand_in.workspace import GROUP, SUBSCRIPTION
from lookonce.export import export_onnx
from serving_process import fastest
from waiting import PATIENCE_SECONDS, wait_until

# The image of the project's Dockerfile, with a model in it.
DOCKERFILE = """ARG BASE=registry.azurecr.localhost/lookonce:1
FROM ${BASE}
COPY model.onnx /model/
COPY notes \\
  /model/notes/
"""
Build = Callable[..., Run]


@pytest.fixture
def name() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def options(stand_in: StandIn) -> dict[str, object]:
    """Return the arguments of a management client."""
    return {
        "credential": DefaultAzureCredential(disable_instance_discovery=True),
        "subscription_id": SUBSCRIPTION,
        "base_url": stand_in.url,
        "credential_scopes": [f"{stand_in.url}/.default"],
    }


@pytest.fixture
def registries(options: dict[str, object]) -> ContainerRegistryManagementClient:
    return ContainerRegistryManagementClient(**options)


@pytest.fixture
def builder(options: dict[str, object]) -> ContainerRegistryManagementClient:
    """Return a client of a version of the interface that has builds."""
    return ContainerRegistryManagementClient(**options, api_version="2019-06-01-preview")


@pytest.fixture
def instances(options: dict[str, object]) -> ContainerInstanceManagementClient:
    return ContainerInstanceManagementClient(**options)


@pytest.fixture(scope="module")
def onnx(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    cfg, _, weights, _, classes = fastest(shared)
    export_onnx(cfg, path, weights=weights, classes=classes)
    return path.read_bytes()


@pytest.fixture
def build(stand_in: StandIn, builder: ContainerRegistryManagementClient) -> Build:
    """Upload files as a context and build an image; return the finished run."""

    def wait(image: str, files: dict[str, bytes]) -> Run:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for path, content in files.items():
                entry = tarfile.TarInfo(path)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        place = builder.registries.get_build_source_upload_url(GROUP, "lookonce")
        BlobClient.from_blob_url(place.upload_url).upload_blob(packed.getvalue())
        request = DockerBuildRequest(
            docker_file_path="Dockerfile",
            image_names=[image],
            source_location=place.relative_path,
            platform=PlatformProperties(os="Linux", architecture="amd64"),
            is_push_enabled=True,
        )
        run = builder.registries.begin_schedule_run(GROUP, "lookonce", request).result()
        waiting = ("Queued", "Started", "Running")
        wait_until(lambda: builder.runs.get(GROUP, "lookonce", run.run_id).status not in waiting)
        return builder.runs.get(GROUP, "lookonce", run.run_id)

    return wait


def log_of(builder: ContainerRegistryManagementClient, run: Run) -> str:
    link = builder.runs.get_log_sas_url(GROUP, "lookonce", run.run_id).log_link
    return BlobClient.from_blob_url(link).download_blob().readall().decode()


def group(registries: ContainerRegistryManagementClient, image: str, **changes: object) -> aci.ContainerGroup:
    """Return a group of one container as in `lookonce deploy aci`."""
    registry = registries.registries.get(GROUP, "lookonce")
    secret = registries.registries.list_credentials(GROUP, "lookonce")
    container = aci.Container(
        name="service",
        image=f"{registry.login_server}/{image}",
        resources=aci.ResourceRequirements(requests=aci.ResourceRequests(cpu=1, memory_in_gb=6)),
        ports=[aci.ContainerPort(port=8080)],
        environment_variables=[
            aci.EnvironmentVariable(name="WEBSERVICE_KEY", secure_value="hush"),
            aci.EnvironmentVariable(name="WHO", value="aci"),
        ],
    )
    fields = {
        "location": registry.location,
        "containers": [container],
        "os_type": "Linux",
        "ip_address": aci.IpAddress(
            type="Public", ports=[aci.Port(port=8080, protocol="TCP")], dns_name_label="dogs"
        ),
        "image_registry_credentials": [
            aci.ImageRegistryCredential(
                server=registry.login_server, username=secret.username, password=secret.passwords[0].value
            )
        ],
        **changes,
    }
    return aci.ContainerGroup(**fields)


def test_an_image_is_built_and_serves_until_its_group_is_deleted(
    stand_in: StandIn,
    registries: ContainerRegistryManagementClient,
    builder: ContainerRegistryManagementClient,
    instances: ContainerInstanceManagementClient,
    build: Build,
    onnx: bytes,
    name: str,
    shared: Path,
):
    files = {"Dockerfile": DOCKERFILE.encode(), "model.onnx": onnx, "notes/a.txt": b"a"}
    run = build(f"{name}:1", files)
    assert run.status == "Succeeded", log_of(builder, run)
    assert run.output_images[0].repository == name
    assert "Successfully pushed" in log_of(builder, run)
    made = instances.container_groups.begin_create_or_update(
        GROUP, name, group(registries, f"{name}:1")
    ).result()
    assert made.provisioning_state == "Succeeded"
    assert made.instance_view.state == "Running"
    port = made.ip_address.ports[0].port
    url = f"http://{made.ip_address.fqdn}:{port}"
    image = (shared / "images" / "dog.jpg").read_bytes()

    def score(key: str) -> int:
        headers = {"Content-Type": "image/jpeg", "Authorization": f"Bearer {key}"}
        try:
            answer = httpx.post(f"{url}/score", content=image, headers=headers, timeout=PATIENCE_SECONDS)
            return answer.status_code
        except httpx.TransportError:
            return 0

    wait_until(lambda: score("hush") == 200)
    assert score("wrong") == 401
    assert '"event": "ready"' in instances.containers.list_logs(GROUP, name, "service").content
    assert len(instances.containers.list_logs(GROUP, name, "service", tail=1).content.splitlines()) == 1
    # Secrets are not returned.
    variables = instances.container_groups.get(GROUP, name).containers[0].environment_variables
    assert [(one.name, one.value, one.secure_value) for one in variables] == [
        ("WEBSERVICE_KEY", None, None),
        ("WHO", "aci", None),
    ]
    credential = instances.container_groups.get(GROUP, name).image_registry_credentials[0]
    assert (credential.username, credential.password) == ("lookonce", None)
    assert name in [one.name for one in instances.container_groups.list_by_resource_group(GROUP)]
    assert name in [one.name for one in instances.container_groups.list()]
    process = psutil.Process(stand_in.containers.groups[name].containers["service"].process.pid)
    family = [process, *process.children(recursive=True)]
    instances.container_groups.begin_delete(GROUP, name).result()
    assert psutil.wait_procs(family, PATIENCE_SECONDS)[1] == []
    with pytest.raises(ResourceNotFoundError):
        instances.container_groups.get(GROUP, name)


def test_a_crashed_container_is_restarted_and_its_log_says_why(
    registries: ContainerRegistryManagementClient,
    instances: ContainerInstanceManagementClient,
    build: Build,
    name: str,
):
    files = {"Dockerfile": DOCKERFILE.encode(), "model.onnx": b"no model", "notes/a.txt": b"a"}
    assert build(f"{name}:1", files).status == "Succeeded"
    instances.container_groups.begin_create_or_update(GROUP, name, group(registries, f"{name}:1")).result()

    def seen() -> aci.ContainerPropertiesInstanceView:
        return instances.container_groups.get(GROUP, name).containers[0].instance_view

    def crashed() -> bool:
        view = seen()
        return bool(view.restart_count) and view.current_state.detail_status == "CrashLoopBackOff"

    wait_until(crashed)
    log = instances.containers.list_logs(GROUP, name, "service").content
    assert "model.onnx" in log
    instances.container_groups.begin_delete(GROUP, name).result()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"model.onnx": b""}, "the Dockerfile (Dockerfile) is not in it"),
        ({"Dockerfile": DOCKERFILE.encode(), "notes/a": b""}, "not found in build context: model.onnx"),
        ({"Dockerfile": b"FROM a\nCOPY ../b c\n"}, "forbidden path outside the build context: ../b"),
        ({"Dockerfile": b"COPY a b\n"}, "no FROM"),
    ],
)
def test_a_build_that_fails_has_a_log(
    builder: ContainerRegistryManagementClient,
    build: Build,
    name: str,
    files: dict[str, bytes],
    expected: str,
):
    run = build(f"{name}:1", files)
    assert run.status == "Failed"
    assert run.run_error_message
    assert expected in log_of(builder, run)


def test_what_azure_refuses_is_refused(
    stand_in: StandIn,
    registries: ContainerRegistryManagementClient,
    builder: ContainerRegistryManagementClient,
    instances: ContainerInstanceManagementClient,
    build: Build,
    name: str,
):
    def put(expected: str, group_name: str = name, **changes: object) -> None:
        wanted = group(registries, f"{name}:1", **changes)
        with pytest.raises(HttpResponseError, match=expected):
            instances.container_groups.begin_create_or_update(GROUP, group_name, wanted)

    put("is not accessible. Please check the image and registry credential")
    assert build(f"{name}:1", {"Dockerfile": b'FROM a\nENTRYPOINT ["sleep", "60"]\n'}).status == "Succeeded"
    put("is not accessible", image_registry_credentials=[])
    put("must match", "Has-Capitals")
    put("is none of Windows, Linux", os_type="BeOS")
    put("location property is required", location=None)
    wanted = group(registries, f"{name}:1")
    for change, expected in (
        (("cpu", 5), "cpu of the container"),
        (("memory_in_gb", 17), "memoryInGB of the container"),
    ):
        container = group(registries, f"{name}:1").containers[0]
        setattr(container.resources.requests, *change)
        put(expected, containers=[container])
    put("port 80 of the IP", ip_address=aci.IpAddress(type="Public", ports=[aci.Port(port=80)]))
    body = wanted.serialize()
    body["properties"]["colour"] = "red"
    bearer = {"Authorization": f"Bearer {stand_in.tokens.make('')}"}
    refused = httpx.put(f"{stand_in.url}{stand_in.containers.path}/{name}", json=body, headers=bearer)
    assert refused.status_code == 400
    assert "could not find member 'colour'" in refused.json()["error"]["message"]
    made = instances.container_groups.begin_create_or_update(GROUP, name, wanted).result()
    wanted.containers[0].resources.requests.cpu = 2
    with pytest.raises(HttpResponseError, match="delete it first"):
        instances.container_groups.begin_create_or_update(GROUP, made.name, wanted)
    instances.container_groups.begin_delete(GROUP, name).result()
    with pytest.raises(HttpResponseError, match="There is no source at"):
        builder.registries.begin_schedule_run(
            GROUP,
            "lookonce",
            DockerBuildRequest(
                docker_file_path="Dockerfile",
                source_location="nothing.tar.gz",
                platform=PlatformProperties(os="Linux"),
            ),
        )
    with pytest.raises(ResourceNotFoundError):
        registries.registries.get(GROUP, "another")
