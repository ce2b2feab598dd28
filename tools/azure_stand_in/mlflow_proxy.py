"""The workspace's MLflow: MLflow's server, with the workspace's run ids and addresses."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from azure_stand_in.wire import Answer, Request
from azure_stand_in.workspace import PATH

_BELOW = re.compile(r"^/mlflow/v\d\.0/.*?/workspaces/[^/]+(/(?:ajax-)?api/.*)$", re.IGNORECASE)
_IDS = ("run_id", "run_uuid")
_LISTS = ("run_ids",)


class MlflowProxy:
    """Start the server on first use. A job's name is its run's id, unlike MLflow's ids."""

    def __init__(self, folder: Path, host: str) -> None:
        self._folder, self._host = folder, host
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._closed = False
        self._inside: dict[str, str] = {}
        self._lock, self._beginning = threading.Lock(), threading.Lock()

    def close(self) -> None:
        """Stop the server."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def address_below(self, path: str) -> str | None:
        """Return MLflow's path of a request to it, or None."""
        found = _BELOW.match(path)
        return found[1] if found else None

    def answer(self, below: str, request: Request) -> Answer:
        """Forward a request."""
        content = request.body
        if content and request.headers.get("content-type", "").startswith("application/json"):
            content = json.dumps(self._translated(json.loads(content), self._inside)).encode()
        query = request.raw_query
        for name, inside in self._inside.items():
            query = query.replace(f"run_id={name}", f"run_id={inside}").replace(
                f"run_uuid={name}", f"run_uuid={inside}"
            )
        address = below + (f"?{query}" if query else "")
        status, headers, body = self._ask(request.method, address, content)
        if not headers.get("content-type", "").startswith("application/json"):
            return Answer(status, body, {"Content-Type": headers.get("content-type", "text/plain")})
        outside = {inside: name for name, inside in self._inside.items()}
        return Answer(status, self._rewritten(self._translated(json.loads(body), outside)))

    def begin_run(self, name: str, experiment: str) -> str:
        """Create a run for a job; return the experiment's id."""
        with self._beginning:
            return self._begun(name, experiment)

    def _begun(self, name: str, experiment: str) -> str:
        path = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=" + experiment
        status, found = self._json("GET", path)
        if status == 200:
            number = found["experiment"]["experiment_id"]
        else:
            _, made = self._json("POST", "/api/2.0/mlflow/experiments/create", {"name": experiment})
            number = made["experiment_id"]
        if name not in self._inside:
            wanted = {"experiment_id": number, "run_name": name, "start_time": 1}
            _, made = self._json("POST", "/api/2.0/mlflow/runs/create", wanted)
            self._inside[name] = made["run"]["info"]["run_id"]
        return str(number)

    def run(self, name: str) -> dict[str, Any]:
        """Return a job's run as in MLflow's REST interface."""
        status, found = self._json("GET", f"/api/2.0/mlflow/runs/get?run_id={self._inside[name]}")
        assert status == 200, found
        return dict(found["run"])

    def end_run(self, name: str, status: str) -> None:
        """Set the state of a job's run: FINISHED, FAILED or KILLED."""
        if (inside := self._inside.get(name)) and not self._closed:
            self._json("POST", "/api/2.0/mlflow/runs/update", {"run_id": inside, "status": status})

    def _rewritten(self, value: Any) -> Any:
        """Replace addresses of artifacts by the workspace's."""
        if isinstance(value, list):
            return [self._rewritten(one) for one in value]
        if not isinstance(value, dict):
            return value
        rewritten = {key: self._rewritten(one) for key, one in value.items()}
        if "artifact_uri" in rewritten and "run_id" in rewritten:
            below = f"experiments/{rewritten['experiment_id']}/runs/{rewritten['run_id']}/artifacts"
            rewritten["artifact_uri"] = f"azureml://{self._host}/mlflow/v2.0{PATH}/{below}"
        return rewritten

    def _translated(self, value: Any, names: dict[str, str]) -> Any:
        if isinstance(value, list):
            return [self._translated(one, names) for one in value]
        if not isinstance(value, dict):
            return value
        return {
            key: names.get(one, one)
            if key in _IDS and isinstance(one, str)
            else [names.get(item, item) for item in one]
            if key in _LISTS
            else self._translated(one, names)
            for key, one in value.items()
        }

    def _json(self, method: str, path: str, content: Any = None) -> tuple[int, Any]:
        status, _, body = self._ask(
            method, path, json.dumps(content).encode() if content is not None else b""
        )
        return status, json.loads(body or b"{}")

    def _ask(self, method: str, path: str, content: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._running(), timeout=60)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body, headers = answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        connection.close()
        return answer.status, headers, body

    def _running(self) -> int:
        with self._lock:
            if self._process is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                with (self._folder / "mlflow.log").open("wb") as log:
                    self._process = subprocess.Popen(
                        [
                            sys.executable,
                            Path(__file__).with_name("mlflow_process.py"),
                            self._folder / "mlflow.db",
                        ],
                        stdout=subprocess.PIPE,
                        stderr=log,
                        cwd=self._folder,
                    )
                assert self._process.stdout is not None
                line = self._process.stdout.readline()
                if not line.strip().isdigit():
                    raise RuntimeError(f"MLflow did not start:\n{(self._folder / 'mlflow.log').read_text()}")
                self._port = int(line)
            return self._port
