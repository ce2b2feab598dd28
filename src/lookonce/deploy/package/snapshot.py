"""The code snapshot of a job or deployment: this package and the named files, nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from lookonce.errors import LookonceError

# The SDK reads this file, and does not upload what it matches.
AMLIGNORE = """\
.*
*.env
*.pem
*.key
*.pfx
config.json
myenvs.txt
__pycache__/
*.pyc
mlflow.db
mlartifacts/
outputs/
"""
_CODE = (".py", ".bicep", ".html", ".css", ".js", ".svg", ".typed")


def write_snapshot(folder: Path, files: Mapping[str, Path]) -> None:
    """Copy the package and `files`, under their keys as names, to `folder`.

    Raises LookonceError for a missing file, or a name that the snapshot would not hold.
    """
    package = Path(__file__).resolve().parents[2]
    for path in sorted(package.rglob("*")):
        if (
            path.is_file()
            and path.suffix in _CODE
            and not any(part.startswith(".") for part in path.parts[-3:])
        ):
            target = folder / "lookonce" / path.relative_to(package)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    for name, path in files.items():
        if not name or name != Path(name).name or name.startswith("."):
            raise LookonceError(f"{name!r} is not a file name for a job; expected a name without folders.")
        if not path.is_file():
            raise LookonceError(f"{path}: no such file.")
        shutil.copyfile(path, folder / name)
    (folder / ".amlignore").write_text(AMLIGNORE, encoding="utf-8")
