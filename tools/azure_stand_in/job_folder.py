"""The folder of a job on its node: code, inputs and outputs, downloaded from and uploaded to storage."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from azure_stand_in.addresses import Addresses
from azure_stand_in.storage import ARTIFACTS, Storage
from azure_stand_in.wire import ArmError

_MOUNTED = "ReadWriteMount"
_PLACEHOLDER = re.compile(r"\$\{\{\s*(inputs|outputs)\.([\w.]+?)\s*\}\}")


class JobFolder:
    """The files of one job on a node, below `folder`. A new node has only what is in storage."""

    def __init__(
        self, folder: Path, name: str, job: dict[str, Any], storage: Storage, addresses: Addresses
    ) -> None:
        self.folder, self._name, self._job = folder, name, job
        self._storage, self._addresses = storage, addresses
        self._places: dict[tuple[str, str], str] = {}
        self.code = folder / "code"
        shutil.rmtree(folder, ignore_errors=True)

    @property
    def artifacts(self) -> str:
        """The path of logs and `./outputs` in the container of artifacts."""
        return f"ExperimentRun/dcid.{self._name}"

    def fill(self) -> None:
        """Download code, inputs, and the content of mounted outputs."""
        (self.code / "outputs").mkdir(parents=True)
        (self.code / "logs").mkdir()
        if self._job.get("codeId"):
            self._storage.fetch(*self._addresses.place(self._job["codeId"]), self.code)
        for name, given in (self._job.get("inputs") or {}).items():
            if given["jobInputType"] == "literal":
                self._places["inputs", name] = str(given.get("value") or "")
                continue
            container, path = self._addresses.place(given["uri"], "data")
            if not self._storage.names(container, path):
                text = f"The input {name} cannot be read: there is nothing at {given['uri']}."
                raise ArmError(400, "UserError", text, "DataNotFound")
            place = self._storage.fetch(container, path, self.folder / "inputs" / name)
            self._places["inputs", name] = str(place)
        for name, output in self._outputs().items():
            place = self.folder / "outputs" / name
            place.mkdir(parents=True)
            if output.get("mode", _MOUNTED) == _MOUNTED:
                self._storage.fetch(*self._addresses.place(output["uri"]), place)
            self._places["outputs", name] = str(place)

    def command(self) -> str:
        """Return the command with paths filled in. Raises ArmError for an undeclared input or output."""

        def place(found: re.Match[str]) -> str:
            try:
                return self._places[found[1], found[2]]
            except KeyError:
                text = f"The command names {found[0]}, which the job does not declare."
                raise ArmError(400, "UserError", text, "InvalidPlaceholder") from None

        return _PLACEHOLDER.sub(place, self._job["command"])

    def variables(self) -> dict[str, str]:
        """Return environment variables with the paths of the outputs."""
        return {f"AZURE_ML_OUTPUT_{name}": str(self.folder / "outputs" / name) for name in self._outputs()}

    def save(self, ended: bool) -> None:
        """Upload outputs: mounted ones at any time, the others once the job has ended."""
        for name, output in self._outputs().items():
            if ended or output.get("mode", _MOUNTED) == _MOUNTED:
                self._storage.push(self.folder / "outputs" / name, *self._addresses.place(output["uri"]))
        for name in ("outputs", "logs"):
            self._storage.push(self.code / name, ARTIFACTS, f"{self.artifacts}/{name}")

    def _outputs(self) -> dict[str, Any]:
        return {name: one for name, one in (self._job.get("outputs") or {}).items() if name != "default"}
