"""The description of the routes holds: schemathesis sends what it allows, and what it doesn't."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving_process import Serving, fastest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def serving(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("openapi"), *fastest(shared)) as running:
        yield running


def test_schemathesis_meets_no_error_of_the_service(serving: Serving, tmp_path: Path):
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "run", f"{serving.url}/openapi.json"),
            *("--checks", "not_a_server_error,status_code_conformance,content_type_conformance"),
            *("--checks", "response_schema_conformance,response_headers_conformance,unsupported_method"),
            *("--max-examples", "15", "--seed", "1", "--request-timeout", "30", "--generation-deterministic"),
            "--no-color",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert '"status": 500' not in serving.log.read_text()


def test_the_description_names_every_route(serving: Serving):
    paths = httpx.get(f"{serving.url}/openapi.json").json()["paths"]
    wanted = {"/score", "/model", "/health", "/ready", "/metrics", "/v2", "/v2/models/{name}/infer"}
    wanted |= {f"/label-studio/{name}" for name in ("health", "setup", "predict", "webhook")}
    assert wanted <= set(paths)
