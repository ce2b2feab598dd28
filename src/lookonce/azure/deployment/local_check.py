"""Check a deployment on this machine, before anything goes to Azure: same code, model and script, one image.

Most deployments that fail do so because of these, and Azure takes minutes to report only ResourceNotReady.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookonce.azure.errors import without_secrets
from lookonce.deploy.local import free_port, responds
from lookonce.errors import LookonceError
from lookonce.serving.client.address import ScoringAddress
from lookonce.serving.client.client import ScoringClient, parse_response
from lookonce.serving.client.failures import ImageFailedError, ServiceError

_SECONDS = 180.0
_LAST_LINES = 15
_BY_CHILD = "a separate process"
# Variables that the child does not inherit: other models, and keys.
_HIDDEN = ("AZURE_", "AZUREML_", "AML_", "LOOKONCE_MODEL", "WEBSERVICE_", "STORAGE_", "IDENTITY_", "MSI_")


@dataclass(frozen=True)
class CheckResult:
    """The response for the image, and the program that gave it."""

    answer: Mapping[str, Any]
    by: str

    @property
    def objects(self) -> str:
        """The number of detected objects, as text."""
        count = len(self.answer["boxes"])
        return f"{count} object" if count == 1 else f"{count} objects"


@dataclass(frozen=True)
class EntryCheck:
    """An entry script, and what it runs with.

    Args:
        code: folder of the code snapshot, with `script` in it.
        variables: environment variables of the container.
        missing: packages that the deployment does not have.
        folder: folder for temporary files.
    """

    code: Path
    script: str
    model: Path
    image: Path
    variables: Mapping[str, str]
    missing: Sequence[str]
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of the process."""
        return _environment(self.code, self.model, self.folder) | dict(self.variables)


def check_online_script(check: EntryCheck) -> CheckResult:
    """Run the entry script, in Azure's inference server where that is installed. Raises LookonceError."""
    if server := _azure_server():
        port = free_port("127.0.0.1", 0)
        command = [server, "--entry_script", str(check.code / check.script), "--port", str(port)]
        try:
            answer = _score_by_server(command, port, "/", check.code, check.environment, check.image)
            return CheckResult(answer, Path(server).name)
        except ModuleNotFoundError:
            # A server in another virtual environment may lack lookonce's dependencies.
            pass
    reply = _child(check)
    if reply["status"] != 200:
        raise _failed(f"run() returned {reply['status']}: {reply['body']}")
    return CheckResult({"filename": check.image.name, **parse_response(reply["body"].encode())}, _BY_CHILD)


def check_service(model: Path, image: Path, folder: Path) -> CheckResult:
    """Run `lookonce serve` as the container image does. Raises LookonceError."""
    port = free_port("127.0.0.1", 0)
    command = [sys.executable, "-m", "lookonce", "serve", "--port", str(port), "--log", "json"]
    environment = _environment(None, model, folder)
    return CheckResult(
        _score_by_server(command, port, "/ready", folder, environment, image), "lookonce serve"
    )


def check_batch_script(check: EntryCheck) -> CheckResult:
    """Run a batch deployment's script on an image. Raises LookonceError."""
    (row,) = _child(check)["rows"]
    answer = json.loads(row)
    if "error" in answer:
        raise LookonceError(f"the scoring script rejects the image: {answer['error']}")
    return CheckResult(answer, _BY_CHILD)


def _environment(code: Path | None, model: Path, folder: Path) -> dict[str, str]:
    """Return the child's environment, with the model below AZUREML_MODEL_DIR as in Azure."""
    mounted = folder / "azureml-models" / "1"
    mounted.mkdir(parents=True, exist_ok=True)
    target = mounted / model.name
    if not target.exists():
        try:
            os.link(model.resolve(), target)
        except OSError:
            shutil.copyfile(model, target)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)}
    added = {"AZUREML_MODEL_DIR": str(mounted), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**clean, **added, **({"PYTHONPATH": str(code)} if code else {})}


def _azure_server() -> str | None:
    beside = Path(sys.executable).with_name("azmlinfsrv")
    return str(beside) if beside.exists() else shutil.which("azmlinfsrv")


def _score_by_server(
    command: list[str], port: int, ready: str, cwd: Path, environment: dict[str, str], image: Path
) -> dict[str, Any]:
    log = cwd.parent / "local-check.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + _SECONDS
        base = f"http://127.0.0.1:{port}"
        while not responds(base + ready):
            if process.poll() is not None or time.monotonic() > until:
                text = log.read_text(encoding="utf-8", errors="replace")
                if "ModuleNotFoundError" in text:
                    raise ModuleNotFoundError(text)
                raise _failed(text)
            time.sleep(0.1)
        client = ScoringClient(ScoringAddress.parse(base), timeout_seconds=_SECONDS)
        return client.score(image)
    except (ImageFailedError, ServiceError) as error:
        raise _failed(f"{log.read_text(encoding='utf-8', errors='replace')}\n{error}") from error
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()


def _child(check: EntryCheck) -> dict[str, Any]:
    """Run `entry_trial` and return its output."""
    script, image = str(check.code / check.script), str(check.image.resolve())
    try:
        done = subprocess.run(
            [sys.executable, "-m", "lookonce.azure.deployment.entry_trial", script, image, *check.missing],
            cwd=check.code,
            env=check.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(f"no response within {_SECONDS:.0f} seconds") from error
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise _failed(done.stdout + done.stderr)
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _failed(log: str) -> LookonceError:
    lines = [line for line in without_secrets(log).splitlines() if line.strip()][-_LAST_LINES:]
    shown = "\n  ".join(lines) or "(no output)"
    return LookonceError(
        "the deployment fails on this machine; nothing was sent to Azure. Last lines of its log:\n  " + shown
    )
