"""Test images in deployments: built from a context, never ready, refused, limited, stopped."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import (
    BuildContext,
    Environment,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
)
from azure.core.exceptions import HttpResponseError

from azure_stand_in.endpoint_images import BuildError, Image, Images, here
from azure_stand_in.stand_in import StandIn
from waiting import PATIENCE_SECONDS

# Responds with the model's text; ?sleep=N delays the response.
SERVER = """
import http.server, os, pathlib, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(404 if self.path.startswith("/never") else 200, b"")
    def do_POST(self):
        if "sleep=" in self.path:
            time.sleep(float(self.path.partition("sleep=")[2]))
        (file,) = pathlib.Path(os.environ["AZUREML_MODEL_DIR"]).rglob("*.txt")
        seen = self.headers.get("Authorization", "nothing")
        self.answer(200, f"{file.read_text()} {os.environ['MODE']} {seen.split()[0]}".encode())
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
DOCKERFILE = """FROM python:3.11-slim
WORKDIR /app
COPY server.py ./
ENV MODE=plain \\
    AZUREML_MODEL_DIR=/model
EXPOSE 9000
ENTRYPOINT ["python", "/app/server.py", "9000"]
"""


@pytest.fixture
def client(stand_in: StandIn) -> MLClient:
    return stand_in.client()


@pytest.fixture
def endpoint(client: MLClient) -> ManagedOnlineEndpoint:
    wanted = ManagedOnlineEndpoint(name=f"i-{uuid.uuid4().hex[:12]}")
    return client.online_endpoints.begin_create_or_update(wanted).result()


def deployment(
    tmp_path: Path, endpoint: str, ready: str = "/ready", port: int = 9000, **options: object
) -> ManagedOnlineDeployment:
    context = tmp_path / "context"
    context.mkdir(exist_ok=True)
    (context / "server.py").write_text(SERVER)
    if not (context / "Dockerfile").exists():
        (context / "Dockerfile").write_text(DOCKERFILE)
    model = tmp_path / "model.txt"
    model.write_text("hello")
    route = {"port": port, "path": ready}
    routes = {
        "liveness_route": route,
        "readiness_route": route,
        "scoring_route": {"port": port, "path": "/answer"},
    }
    return ManagedOnlineDeployment(
        name="built",
        endpoint_name=endpoint,
        model=Model(path=str(model)),
        model_mount_path="/elsewhere",
        environment=Environment(
            name=endpoint, build=BuildContext(path=str(context)), inference_config=routes
        ),
        environment_variables={"MODE": "/elsewhere"},
        instance_type="Standard_DS3_v2",
        instance_count=1,
        **options,
    )


def test_an_image_is_built_from_a_context_and_limits_its_requests(
    stand_in: StandIn, client: MLClient, endpoint: ManagedOnlineEndpoint, tmp_path: Path
):
    name = endpoint.name
    settings = OnlineRequestSettings(max_concurrent_requests_per_instance=1)
    client.online_deployments.begin_create_or_update(
        deployment(tmp_path, name, request_settings=settings)
    ).result()
    there = client.online_endpoints.get(name)
    there.traffic = {"built": 100}
    url = client.online_endpoints.begin_create_or_update(there).result().scoring_uri
    assert url.endswith("/answer")
    keys = {"Authorization": f"Bearer {client.online_endpoints.get_keys(name).primary_key}"}

    def request(query: str = "") -> httpx.Response:
        return httpx.post(f"{url}{query}", headers=keys, timeout=PATIENCE_SECONDS)

    text, mode, seen = request().text.split()
    assert (text, seen) == ("hello", "Bearer")
    assert Path(mode).is_dir()
    # Services may or may not get the Authorization header: test both.
    stand_in.deployments.fronts[f"onlineendpoints/{name}"].authorization = False
    assert request().text.endswith("nothing")
    with ThreadPoolExecutor(5) as crowd:
        statuses = sorted(one.status_code for one in crowd.map(request, ["?sleep=1"] * 5))
    assert statuses == [200, 200, 429, 429, 429]
    running = stand_in.deployments.fronts[f"onlineendpoints/{name}"].running["built"]
    process = psutil.Process(running.containers[0].process.pid)
    client.online_endpoints.begin_delete(name).result()
    assert psutil.wait_procs([process], PATIENCE_SECONDS)[1] == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ready": "/never"}, "Readiness probe failed: 404"),
        ({"port": 8080}, "Readiness probe failed: dial tcp 127.0.0.1:8080: connect: connection refused"),
    ],
)
def test_a_container_that_is_never_ready_is_stopped(
    stand_in: StandIn,
    client: MLClient,
    endpoint: ManagedOnlineEndpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, object],
    expected: str,
):
    monkeypatch.setattr(stand_in.deployments, "ready_seconds", 1.5)
    with pytest.raises(HttpResponseError, match=expected):
        client.online_deployments.begin_create_or_update(
            deployment(tmp_path, endpoint.name, **options)
        ).result()
    assert not [one for one in stand_in.deployments._started if one.alive and one.command.inside == 9000]
    client.online_endpoints.begin_delete(endpoint.name).result()


def test_a_context_that_lacks_something_fails_the_deployment(
    client: MLClient, endpoint: ManagedOnlineEndpoint, tmp_path: Path
):
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text("FROM python:3.11-slim\nCOPY nothing /here\n")
    with pytest.raises(HttpResponseError, match=r"ImageBuildFailure.*not found in build context: nothing"):
        client.online_deployments.begin_create_or_update(deployment(tmp_path, endpoint.name)).result()
    client.online_endpoints.begin_delete(endpoint.name).result()


def test_an_endpoint_with_entras_tokens(client: MLClient):
    wanted = ManagedOnlineEndpoint(name=f"i-{uuid.uuid4().hex[:12]}", auth_mode="aad_token")
    made = client.online_endpoints.begin_create_or_update(wanted).result()
    token = client.online_endpoints.get_keys(made.name).access_token

    def request(token: str) -> int:
        return httpx.post(made.scoring_uri, headers={"Authorization": f"Bearer {token}"}).status_code

    assert (request(token), request("wrong")) == (404, 401)
    client.online_endpoints.begin_delete(made.name).result()


def test_closing_stops_every_container(
    stand_in: StandIn, client: MLClient, endpoint: ManagedOnlineEndpoint, tmp_path: Path
):
    deployments = stand_in.deployments
    client.online_deployments.begin_create_or_update(deployment(tmp_path, endpoint.name)).result()
    running = deployments.fronts[f"onlineendpoints/{endpoint.name}"].running["built"].containers[0]
    deployments.close()
    assert not running.alive
    running.start()
    assert not running.alive
    deployments._closed = False
    client.online_endpoints.begin_delete(endpoint.name).result()


def test_a_dockerfile_is_read_as_docker_does(tmp_path: Path):
    context = tmp_path / "context"
    (context / "folder").mkdir(parents=True)
    (context / "folder" / "a").write_text("a")
    (context / "b").write_text("b")
    (context / "Dockerfile").write_text(
        "# a comment\nARG WHO=me\nFROM base:1 AS build\nCOPY b /lost\nFROM own/lookonce:2\n"
        'ENV ONE=1 \\\n    TWO="2 and" WHO=${WHO}\nWORKDIR /app\nCOPY folder ./folder\nCOPY b folder/\n'
        'CMD ["--workers", "2"]\n'
    )
    image = Images().build(context, "Dockerfile", tmp_path / "files", {"WHO": "you"})
    assert (image.variables["TWO"], image.variables["WHO"]) == ("2 and", "you")
    assert image.variables["AZUREML_MODEL_DIR"] == "/model"
    assert image.words({})[-2:] == ["--workers", "2"]
    assert "{port}" in image.words({})
    assert {one.name for one in (tmp_path / "files" / "app" / "folder").iterdir()} == {"a", "b"}
    assert "/lost" not in image.files
    assert here(["/app/folder/b", "/apple", "x"], {"/app": tmp_path}) == [
        f"{tmp_path}/folder/b",
        "/apple",
        "x",
    ]
    with pytest.raises(BuildError, match="is not in it"):
        Images().build(context, "Other", tmp_path / "more")
    images = Images()
    images.registries.add("mine.azurecr.localhost")
    assert images.find("mine.azurecr.localhost/lookonce:1") is None
    images.add("mine.azurecr.localhost/lookonce", Image(port=1))
    assert images.find("mine.azurecr.localhost/lookonce:latest") == Image(port=1)
    assert images.find("other.azurecr.localhost:5000/a/lookonce@sha256:ab12") is not None
    assert images.find("python:3.12-slim") is None
