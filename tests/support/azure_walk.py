"""Commands run one after the other as a user would, with what they print, for a test and for a document."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# What a stand-in or a processor says otherwise than Azure and its machines.
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
    """A folder, its surroundings, and all that was run in it.

    Args:
        hidden: texts that stand for themselves nowhere in the transcript, and what stands there instead.
    """

    folder: Path
    environment: Mapping[str, str]
    hidden: Mapping[str, str] = field(default_factory=dict)
    said: list[tuple[str, str]] = field(default_factory=list)

    def run(self, line: str, status: int = 0, without: tuple[str, ...] = (), seconds: float = 900) -> str:
        """One line that begins with `lookonce`; what it printed on both streams, in order."""
        words = shlex.split(line)
        assert words[0] == "lookonce"
        surroundings = {**os.environ, **self.environment, "COLUMNS": "110"}
        # What the SDK leaves in a process that used it; a user's shell has no such thing.
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
        self.said.append((line, done.stdout))
        assert done.returncode == status, f"$ {line}\n{done.stdout}"
        assert "Traceback" not in done.stdout, f"$ {line}\n{done.stdout}"
        return done.stdout

    def transcript(self, line: str) -> str:
        """What the document shows of one command."""
        said = next(text for ran, text in self.said if ran == line)
        return f"$ {line}\n{self.shown(said)}".rstrip()

    def shown(self, text: str) -> str:
        """`text` with what differs from machine to machine replaced."""
        for found, instead in self.hidden.items():
            text = text.replace(found, instead)
        for found, instead in _ELSEWHERE:
            text = re.sub(found, instead, text, flags=re.MULTILINE)
        return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
