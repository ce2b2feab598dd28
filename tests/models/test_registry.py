"""The local registry: names, versions, aliases, and files that are what was registered."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lookonce.errors import LookonceError
from lookonce.export import export_onnx
from lookonce.models.mlflow_store import store_address
from lookonce.models.registry import LocalRegistry, checked_alias, find, model_name
from serving_process import fastest


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalRegistry:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return LocalRegistry(store_address(tmp_path))


def file(folder: Path, content: bytes, name: str = "model.keras") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-m", "lookonce", "models", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env, check=False)


@pytest.mark.parametrize(
    ("given", "name"),
    [("cars", "cars"), ("carsv1.h5", "carsv1"), ("my cars (2).onnx", "my-cars-2"), ("v1.2", "v1-2")],
)
def test_names(given: str, name: str):
    found, word = model_name(given)
    assert found == name
    assert (word is None) == (given == name)
    if word:
        assert given in word
        assert name in word


@pytest.mark.parametrize("given", ["", "...", "物体", "-", "x" * 256])
def test_invalid_names_are_refused(given: str):
    with pytest.raises(LookonceError, match="model name"):
        model_name(given)


@pytest.mark.parametrize("alias", ["1", "v12", "latest", "", "a b", "ä"])
def test_aliases_that_look_like_versions_are_refused(alias: str):
    with pytest.raises(LookonceError, match="alias"):
        checked_alias(alias)


def test_versions_aliases_and_files_round_trip(registry: LocalRegistry, tmp_path: Path):
    first = registry.register(file(tmp_path, b"one"), "cells", {"val_map": "0.5"}, "champion")
    second = registry.register(file(tmp_path, b"two"), "cells", {"val_map": "0.6"}, None)
    assert (first.version, second.version) == ("1", "2")
    assert first.aliases == ("champion",)
    assert find(registry, "cells").version == find(registry, "cells:latest").version == "2"
    assert find(registry, "cells:champion").version == find(registry, "cells:1").version == "1"
    registry.register(file(tmp_path, b"two"), "cells", {}, "champion")
    assert find(registry, "cells:champion").version == "2", "the alias has moved, and no version was added"
    assert [one.version for one in registry.versions("cells")] == ["2", "1"]
    assert find(registry, "cells:2").tags["val_map"] == "0.6"
    path = registry.download(find(registry, "cells:1"), tmp_path / "got")
    assert path.name == "model.keras"
    assert path.read_bytes() == b"one"
    registry.register(file(tmp_path, b"x", "dogs.onnx"), "dogs", {}, None)
    assert [(one.name, one.version) for one in registry.newest()] == [("cells", "2"), ("dogs", "1")]


def test_unknown_versions_names_and_files_are_refused(registry: LocalRegistry, tmp_path: Path):
    registry.register(file(tmp_path, b"one"), "cells", {}, None)
    with pytest.raises(LookonceError, match="no version or alias '7'; it has 1"):
        find(registry, "cells:7")
    with pytest.raises(LookonceError, match="no model 'dogs' is registered"):
        find(registry, "dogs")
    (tmp_path / "got").mkdir()
    file(tmp_path / "got", b"mine")
    with pytest.raises(LookonceError, match="other content"):
        registry.download(find(registry, "cells"), tmp_path / "got")
    assert (tmp_path / "got" / "model.keras").read_bytes() == b"mine"
    (stored,) = (tmp_path / "mlartifacts").rglob("model.keras")
    stored.write_bytes(b"damaged")
    with pytest.raises(LookonceError, match="changed"):
        registry.download(find(registry, "cells"), tmp_path / "elsewhere")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_commands(shared: Path, tmp_path: Path):
    cfg, _, weights, _, classes = fastest(shared)
    export_onnx(cfg, tmp_path / "dogs.v1.onnx", weights=weights, classes=classes)
    done = run(tmp_path, "register", "dogs.v1.onnx", "--alias", "champion", "--tag", "by=me")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "'dogs.v1' is registered as 'dogs-v1': names have letters, digits, - and _ only.",
        "Registered dogs-v1:1, champion",
    ]
    shown = run(tmp_path, "show", "dogs-v1:champion").stdout
    assert "input: 320x320" in shown
    assert "by: me" in shown
    assert "dogs-v1" in run(tmp_path, "list").stdout
    got = run(tmp_path, "download", "dogs-v1:champion", "--output", "got")
    assert got.stdout.strip() == "dogs-v1:1 downloaded to got/dogs.v1.onnx"
    assert (tmp_path / "got" / "dogs.v1.onnx").read_bytes() == (tmp_path / "dogs.v1.onnx").read_bytes()
    for arguments, message in (
        (("register",), "give either FILE or --model-size"),
        (("register", "nothing.onnx"), "no such file"),
        (("register", "dogs.v1.onnx", "--alias", "2"), "is no alias"),
        (("register", "dogs.v1.onnx", "--tag", "x"), "is not KEY=VALUE"),
        (("show", "cats"), "no model 'cats'"),
    ):
        failed = run(tmp_path, *arguments)
        assert failed.returncode == 1
        assert message in failed.stderr
        assert len(failed.stderr.splitlines()) == 1


def test_base_weights_are_verified_before_registration(tmp_path: Path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "yolov3-tiny.weights").write_bytes(b"\0" * 35_434_956)
    handler = partial(SimpleHTTPRequestHandler, directory=str(mirror))
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        done = run(tmp_path, "register", "--model-size", "tiny", "--base-url", url)
        server.shutdown()
    assert done.returncode == 1
    assert "SHA-256" in done.stderr
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "weights" / "yolov3-tiny.weights").exists()
