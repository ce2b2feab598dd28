"""Run an entry script once, as Azure's inference server does.

`python -m lookonce.azure.deployment.entry_trial SCRIPT IMAGE [NAME…]` calls `init()`, then `run` with the
image, and prints the response as JSON on the last line. Importing a package NAME… fails, because the
deployment does not have it. Azure's inference server need not be installed: stubs replace its modules.
"""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_SERVER = "azureml_inference_server_http"


class _Response:
    """Stub for the server's AMLResponse."""

    def __init__(self, body: Any, status: int, headers: Mapping[str, str] | None = None, **_: Any) -> None:
        self.body, self.status = body, status


class _Request:
    """Stub for Flask's request: one POST of an image, with the attributes that the script reads."""

    method = "POST"

    def __init__(self, content: bytes) -> None:
        self.stream = io.BytesIO(content)
        self.headers = {"Content-Type": "application/octet-stream"}
        # Werkzeug's dict has a method that dict lacks.
        self.args = _Arguments()


class _Arguments(dict[str, str]):
    def to_dict(self) -> dict[str, str]:
        return dict(self)


def main(script: Path, image: Path, missing: Sequence[str]) -> int:
    """Run the script and print its response; return the exit code."""
    for name in missing:
        # None makes the import fail as for a missing module.
        sys.modules[name] = None  # type: ignore[assignment]
    _install_server_stubs()
    entry = _load(script)
    entry.init()
    if _takes_paths(entry.run):
        print(json.dumps({"rows": entry.run([str(image)])}))
        return 0
    reply = entry.run(_Request(image.read_bytes()))
    body = reply.body.decode() if isinstance(reply.body, bytes) else str(reply.body)
    print(json.dumps({"status": reply.status, "body": body}))
    return 0


def _takes_paths(run: Callable[..., Any]) -> bool:
    """Return whether this is `run` of a batch deployment's script."""
    names = run.__code__.co_varnames[: run.__code__.co_argcount]
    return names[:1] == ("mini_batch",)


def _install_server_stubs() -> None:
    names = (_SERVER, f"{_SERVER}.api", f"{_SERVER}.api.aml_request", f"{_SERVER}.api.aml_response")
    for name in names:
        sys.modules[name] = ModuleType(name)
    vars(sys.modules[names[2]])["rawhttp"] = lambda run: run
    vars(sys.modules[names[3]])["AMLResponse"] = _Response


def _load(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("entry_script", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
