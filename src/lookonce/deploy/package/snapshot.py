"""The folder of code that travels to a job: this package, the files that the command names, nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from lookonce.errors import LookonceError

# Whatever comes into the folder by mistake stays here: the SDK reads this file.
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
    """Fill `folder` with the package and `files`, by the names that they are to have there.

    Raises LookonceError for a file that isn't there or whose name the job wouldn't get.
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
            raise LookonceError(f"{name!r} is no name for a file of a job; expected one without folders.")
        if not path.is_file():
            raise LookonceError(f"{path}: no such file.")
        shutil.copyfile(path, folder / name)
    (folder / ".amlignore").write_text(AMLIGNORE, encoding="utf-8")
