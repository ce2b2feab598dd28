"""The cluster that jobs run on: an existing one, or a new one that costs nothing while idle."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.errors import explain
from lookonce.azure.retry import call, sdk_silenced
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

SERVERLESS = "serverless"
# By the number of GPUs: none, one T4.
SIZES = {0: "Standard_DS3_v2", 1: "Standard_NC4as_T4_v3"}
_NAME = re.compile(r"(?!.*-\d+\Z)[a-zA-Z][a-zA-Z0-9-]{1,22}[a-zA-Z0-9]\Z")


@dataclass(frozen=True)
class ComputeSpec:
    """The cluster for a job. Without `name` and `size`, both follow from the number of GPUs."""

    gpus: int = 1
    name: str | None = None
    size: str | None = None
    low_priority: bool = False
    idle_seconds: int = 900

    def __post_init__(self) -> None:
        if self.gpus not in SIZES:
            raise LookonceError(
                f"{self.gpus} GPUs: training uses one GPU on one machine; expected 1, or 0 for "
                "no GPU. For more speed, choose a size with one larger GPU, such as Standard_NC24ads_A100_v4."
            )
        if self.name is not None and self.name != SERVERLESS and not _NAME.match(self.name):
            raise LookonceError(
                f"{self.name[:60]!r} is not a cluster name; expected 3 to 24 letters, digits "
                "and hyphens, a letter first, no hyphen and number at the end."
            )

    @property
    def vm_size(self) -> str:
        """Size of the machines."""
        return self.size or SIZES[self.gpus]

    @property
    def cluster(self) -> str:
        """The cluster's name; for one GPU, the one that `lookonce azure provision` creates."""
        if self.name is not None:
            return self.name
        parts = ["lookonce", "" if self.gpus else "cpu"]
        return "-".join(part for part in (*parts, "low" if self.low_priority else "") if part)


def ensure(client: MLClient, spec: ComputeSpec) -> tuple[str, str]:
    """Return the cluster's name and a sentence about it; create a missing one. Raises LookonceError.

    A cluster whose creation fails is deleted again.
    """
    if spec.cluster == SERVERLESS:
        return SERVERLESS, f"serverless, one {spec.vm_size}"
    try:
        found = call(client, lambda: client.compute.get(spec.cluster))
    except ResourceNotFoundError:
        return spec.cluster, _create(client, spec)
    return spec.cluster, _use(client, spec, found)


def check_compute(client: MLClient, name: str, kind: str) -> None:
    """Raise LookonceError where the workspace has no compute of this name and kind."""
    try:
        found = call(client, lambda: client.compute.get(name))
    except ResourceNotFoundError:
        known = sorted(
            one.name for one in call(client, lambda: list(client.compute.list())) if str(one.type) == kind
        )
        raise LookonceError(
            f"no compute {name[:60]!r} in workspace {client.workspace_name}; of kind {kind} it has "
            f"{', '.join(known) or 'none'}. Add one with az ml compute attach or create."
        ) from None
    if str(found.type) != kind:
        raise LookonceError(f"compute {name} is of kind {found.type}; expected {kind}.")


def _use(client: MLClient, spec: ComputeSpec, found: Any) -> str:
    size = str(getattr(found, "size", "") or "")
    if spec.size and size and size.lower() != spec.size.lower():
        raise LookonceError(
            f"cluster {spec.cluster} exists with {size}, not {spec.size}. Choose another cluster name, or "
            "leave the machine size out."
        )
    tier = str(getattr(found, "tier", "") or "").lower().replace("_", "")
    if spec.low_priority and tier == "dedicated":
        raise LookonceError(
            f"cluster {spec.cluster} exists with dedicated machines, which cannot be changed. Choose another "
            "cluster name for low priority."
        )
    most = getattr(found, "max_instances", None)
    if most is not None and most < 1:
        raise LookonceError(
            f"cluster {spec.cluster} allows {most} nodes. Raise the limit: az ml compute update --name "
            f"{spec.cluster} --max-instances 1; or choose another cluster."
        )
    return f"{spec.cluster} ({size or found.type}), existing"


def _create(client: MLClient, spec: ComputeSpec) -> str:
    from azure.ai.ml.entities import AmlCompute

    cluster = AmlCompute(
        name=spec.cluster,
        size=spec.vm_size,
        min_instances=0,
        max_instances=1,
        idle_time_before_scale_down=spec.idle_seconds,
        tier="low_priority" if spec.low_priority else "dedicated",
    )
    try:
        call(client, lambda: client.compute.begin_create_or_update(cluster).result())
    except LookonceError as error:
        raise LookonceError(f"{error} {_remove_failed(client, spec.cluster)}") from error
    price = "low priority, " if spec.low_priority else ""
    return (
        f"{spec.cluster} created: {spec.vm_size}, {price}0 to 1 nodes, scaled to zero after "
        f"{spec.idle_seconds // 60} idle minutes"
    )


def _remove_failed(client: MLClient, name: str) -> str:
    try:
        with sdk_silenced():
            client.compute.begin_delete(name).result()
    except ResourceNotFoundError:
        pass
    except Exception as error:
        return f"Cluster {name} is left behind in a failed state ({explain(error)}); delete it in the portal."
    return "Nothing was left behind."
