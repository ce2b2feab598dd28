"""Resolve `azureml:` addresses, asset ids and blob URLs to places in the storage account."""

from __future__ import annotations

import re

from azure_stand_in.resources import Resources
from azure_stand_in.storage import ARTIFACTS, container_and_path, datastore_and_path
from azure_stand_in.wire import ArmError, not_found

_JOB_OUTPUT = re.compile(r"^azureml://jobs/([^/]+)/outputs/([^/]+)(?:/paths/?(.*))?$")
_SHORT_ASSET = re.compile(r"^azureml:(?!//)(.+):([^:]+)$")
_CONTENT = ("dataUri", "modelUri", "codeUri")


class Addresses:
    """Resolver of addresses to (container, path), by the workspace's resources."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def canonical(self, address: str) -> str:
        """Return the long form of an address, as the service returns it. Raises ArmError."""
        if _JOB_OUTPUT.match(address) or datastore_and_path(address):
            name, path = self._datastore(address)
            whole = self._resources.workspace.replace("/providers/Microsoft.MachineLearningServices", "")
            return f"azureml:/{whole}/datastores/{name}/paths/{path}"
        return address

    def place(self, address: str, kind: str = "") -> tuple[str, str]:
        """Return (container, path) of an address or asset id; `kind` completes `azureml:NAME:VERSION`."""
        if found := _SHORT_ASSET.match(address):
            address = f"{kind}/{found[1]}/versions/{found[2]}"
        elif address.startswith("azureml:/subscriptions/"):
            address = address.removeprefix("azureml:")
        if "://" not in address:
            properties = self._resources.get(address)["properties"]
            address = next(properties[name] for name in _CONTENT if properties.get(name))
        if address.startswith("azureml://"):
            name, path = self._datastore(address)
            return self.container_of(name), path
        if address.startswith("https://"):
            return container_and_path(address)
        raise ArmError(400, "UserError", f"The address {address} is not understood.", "InvalidUri")

    def container_of(self, datastore: str) -> str:
        """Return the container of a datastore."""
        return str(self._resources.get(f"datastores/{datastore}")["properties"]["containerName"])

    def _datastore(self, address: str) -> tuple[str, str]:
        if found := _JOB_OUTPUT.match(address):
            job, output, below = found[1], found[2], found[3] or ""
            outputs = self._resources.get(f"jobs/{job}")["properties"]["outputs"]
            output = "default" if output == "artifacts" else output
            if output not in outputs:
                raise not_found(f"output {output} of job {job}")
            name, path = datastore_and_path(outputs[output]["uri"]) or (ARTIFACTS, "")
            return name, f"{path}/{below}".rstrip("/")
        found_place = datastore_and_path(address)
        if found_place is None:
            raise ArmError(400, "UserError", f"The address {address} is not understood.", "InvalidUri")
        return found_place
