"""The build context of a service's image: Dockerfile, code, package list, model."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lookonce.deploy.package.lock import locked
from lookonce.deploy.package.snapshot import write_snapshot

# Like the repository's Dockerfile, but from the installed package: there may be no repository.
_DOCKERFILE = """\
FROM python:{python}-slim
COPY requirements.txt /lookonce/
RUN pip install --no-cache-dir --disable-pip-version-check -r /lookonce/requirements.txt
COPY code /lookonce/code
{model}ENV AZUREML_MODEL_DIR=/model \\
    PYTHONPATH=/lookonce/code \\
    HOME=/tmp \\
    ORT_DISABLE_TELEMETRY=1 \\
    PYTHONUNBUFFERED=1 \\
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8080
ENTRYPOINT {entry}
"""
_SERVE = ("python", "-m", "lookonce", "serve", "--host", "0.0.0.0", "--port", "8080", "--log", "json")


def write_context(folder: Path, model: Path | None, options: Sequence[str] = ()) -> str:
    """Fill `folder`; return a digest of its content. Raises LookonceError.

    Without `model`, the image serves the model that is mounted at AZUREML_MODEL_DIR. `options` are arguments
    of `lookonce serve`.
    """
    write_snapshot(folder / "code", {})
    (folder / "requirements.txt").write_text("\n".join(locked(())) + "\n", encoding="utf-8")
    line = ""
    if model is not None:
        (folder / "model").mkdir()
        shutil.copyfile(model, folder / "model" / model.name)
        line = "COPY model /model\n"
    text = _DOCKERFILE.format(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        model=line,
        entry=json.dumps([*_SERVE, *options]),
    )
    (folder / "Dockerfile").write_text(text, encoding="utf-8")
    for path in (folder, *folder.rglob("*")):
        # Readable for the image's user, whatever the umask is.
        path.chmod(0o755 if path.is_dir() else 0o644)
    digest = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]
