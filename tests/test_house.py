"""Who may import whom, what stays light, and how long a file may be."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "lookonce"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 350

# Left to right; nobody imports to the right of himself, nor from another part of his own rank but the first.
RANKS = (
    (
        "errors",
        "boxes",
        "detections",
        "model_card",
        "card_file",
        "images",
        "resize",
        "atomic",
        "palette",
        "backend",
    ),
    ("labels", "darknet"),
    ("darknet_pair", "onnx_graph"),
    ("network",),
    ("training",),
    ("evaluation",),
    ("inference",),
    ("video", "fleet"),
    (
        "base_model",
        "run_folder",
        "validation",
        "mlflow_store",
        "tracking",
        "models",
        "report",
        "pipeline",
        "demo",
    ),
    ("export",),
    ("serving",),
    ("deploy",),
    ("azure",),
    ("cli",),
)
RANK = {part: rank for rank, parts in enumerate(RANKS) for part in parts}
# One rank, yet these build on each other.
LAYERED_RANKS = (0, 8)
ROOTS = {"__init__", "__main__"}
HEAVY = {"keras", "tensorflow", "jax", "torch"}
LIGHT = {"onnx_graph", "labels", "darknet", "boxes", "detections", "errors", "model_card"}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[str]:
    """Dotted names of all that a file imports, wherever in it; `from lookonce import x` gives lookonce.x."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_right_to_left(path: Path) -> None:
    part = part_of(path)
    if part in ROOTS:
        return
    assert part in RANK, f"{part} has no place in this test's RANKS yet"
    for module in imported_modules(path):
        root, _, rest = module.partition(".")
        target = rest.split(".")[0]
        if root != "lookonce" or target == part or target not in RANK:
            continue
        allowed = RANK[target] < RANK[part] or (RANK[target] == RANK[part] and RANK[part] in LAYERED_RANKS)
        assert allowed, f"{path.relative_to(PACKAGE)} imports {module}, which stands to its right"


@pytest.mark.parametrize("path", [path for path in FILES if part_of(path) in LIGHT], ids=str)
def test_light_parts_import_no_keras(path: Path) -> None:
    assert not HEAVY & {module.split(".")[0] for module in imported_modules(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_fit_in_a_readers_head(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MOST_LINES


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from lookonce.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'matplotlib', 'cv2', 'azure', 'mlflow'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "lookonce" in done.stdout


def test_commands_without_azure_import_nothing_of_it(tmp_path: Path) -> None:
    """Every command's own modules, and a command's run; azure.ai.ml alone takes seconds."""
    code = (
        "import importlib, pkgutil, sys\n"
        "import lookonce.azure, lookonce.cli\n"
        "for module in pkgutil.iter_modules(lookonce.cli.__path__):\n"
        "    importlib.import_module(f'lookonce.cli.{module.name}')\n"
        "from lookonce.cli.main import main\n"
        "main(['deploy', 'list'])\n"
        "main(['data', 'check', sys.argv[1]])\n"
        "heavy = {'azure', 'azureml', 'mlflow', 'tensorflow', 'keras'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    from lookonce.labels.demo_set import make_demo_set

    data = make_demo_set(tmp_path, images=4, seed=1)
    done = subprocess.run(
        [sys.executable, "-c", code, str(data)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr + done.stdout
