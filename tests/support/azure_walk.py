"""Run commands one after the other as a user would, and record their output for a document."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Output that differs between the stand-in and Azure, or between machines.
_ELSEWHERE = (
    (
        r"https://127\.0\.0\.1:\d+/inference/([\w-]+)/score",
        r"https://\1.westeurope.inference.ml.azure.com/score",
    ),
    (
        r"https://ml\.azure\.localhost/\S+/runs/|https://ml\.azure\.localhost/runs/",
        "https://ml.azure.com/runs/",
    ),
    (r"\?wsid=\S+", "?wsid=…"),
    (r"^[EWI]0000 .*\n", ""),
    (r"[\w~/.-]+/workspace\.bicep", "…/lookonce/azure/workspace.bicep"),
    (r"/\S+/(jobs/\S+/outputs/run|azureml-models)/", r"/mnt/azureml/\1/"),
    (r"/\S+/onlineEndpoints-[\w-]+/", "/var/azureml-app/"),
    (r"/\S+/site-packages/", "…/site-packages/"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:8080"),
    (r"--port \d+", "--port 8080"),
)


@dataclass
class Walk:
    """A folder, its environment variables, and the commands run in it.

    Args:
        hidden: texts to replace in the transcript, with their replacements.
    """

    folder: Path
    environment: Mapping[str, str]
    hidden: Mapping[str, str] = field(default_factory=dict)
    steps: list[tuple[str, str]] = field(default_factory=list)

    def run(self, line: str, status: int = 0, without: tuple[str, ...] = (), seconds: float = 900) -> str:
        """Run a line that begins with `lookonce`; return its output on both streams, in order."""
        words = shlex.split(line)
        assert words[0] == "lookonce"
        surroundings = {**os.environ, **self.environment, "COLUMNS": "110"}
        # The SDK sets it in a process that used it; a user's shell does not have it.
        for name in (*without, "AZUREML_CURRENT_CLOUD"):
            surroundings.pop(name, None)
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.folder,
            env=surroundings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        self.steps.append((line, done.stdout))
        assert done.returncode == status, f"$ {line}\n{done.stdout}"
        assert "Traceback" not in done.stdout, f"$ {line}\n{done.stdout}"
        return done.stdout

    def transcript(self, line: str) -> str:
        """Return the document's text for one command."""
        printed = next(text for ran, text in self.steps if ran == line)
        return f"$ {line}\n{self.shown(printed)}".rstrip()

    def shown(self, text: str) -> str:
        """Return `text` with machine-specific parts replaced."""
        for found, instead in self.hidden.items():
            text = text.replace(found, instead)
        for found, instead in _ELSEWHERE:
            text = re.sub(found, instead, text, flags=re.MULTILINE)
        return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
