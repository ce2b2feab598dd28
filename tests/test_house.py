"""Who may import whom, what stays light, and how long a file may be."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "lookonce"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 350

# From the bottom up: a module imports from its own part and from those before it, never from one after it.
ORDER = (
    "errors",
    "_version",
    "core",
    "io",
    "labels",
    "darknet",
    "models",
    "evaluation",
    "inference",
    "export",
    "runs",
    "report",
    "training",
    "serving",
    "deploy",
    "azure",
    "cli",
)
# What stands on top of the parts: the public names, and `python -m lookonce`.
ROOTS = {"__init__", "__main__"}
# Packages whose import name is not their name on PyPI.
DISTRIBUTIONS = {"PIL": "pillow", "cv2": "opencv-python-headless", "mlflow": "mlflow-skinny"}
# Installed by Azure's own scoring image, and imported there alone.
PROVIDED_BY_AZURE = {"azureml_inference_server_http"}
HEAVY = {"keras", "tensorflow", "jax", "torch"}
LIGHT = {"errors", "core", "io", "labels", "darknet"}


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


def test_top_level_holds_the_parts_and_nothing_else() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "py.typed")}
    files = {"__init__.py", "__main__.py", "_version.py", "errors.py"}
    assert found == files | {part for part in ORDER if f"{part}.py" not in files}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    part = part_of(path)
    rank = len(ORDER) if part in ROOTS else ORDER.index(part)
    for module in imported_modules(path):
        root, _, rest = module.partition(".")
        if root != "lookonce":
            continue
        target = rest.split(".")[0]
        assert target in ORDER, f"{path.relative_to(PACKAGE)} imports {module}, which belongs to no part"
        assert ORDER.index(target) <= rank, f"{path.relative_to(PACKAGE)} imports {module}, which lies above"


def test_third_party_imports_are_declared() -> None:
    project = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [extra for name, extra in project["optional-dependencies"].items() if name != "test"]
    requirements = [*project["dependencies"], *(line for extra in extras for line in extra)]
    declared = {re.split(r"[^\w.-]", line)[0].lower() for line in requirements}
    missing = set()
    for path in FILES:
        for module in imported_modules(path):
            root = module.split(".")[0]
            if root == "lookonce" or root in sys.stdlib_module_names or root in PROVIDED_BY_AZURE:
                continue
            if root == "azure":
                # A namespace that many packages share: azure.storage.blob is azure-storage-blob.
                parts = module.lower().split(".")
                names = {"-".join(parts[:length]) for length in range(2, len(parts) + 1)}
            else:
                names = {DISTRIBUTIONS.get(root, root.replace("_", "-")).lower()}
            if not names & declared:
                missing.add(f"{root} ({path.relative_to(PACKAGE)})")
    assert not missing, f"imported, but in no requirement of pyproject.toml: {sorted(missing)}"


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
