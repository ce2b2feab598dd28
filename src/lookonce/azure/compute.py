"""The cluster that jobs run on: the one that is there, or a new one that costs nothing while it waits."""

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
    """What a job needs. `name` and `size` None: by the number of GPUs."""

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
                f"--compute {self.name[:60]!r} is no name for a cluster; expected 3 to 24 letters, digits "
                "and hyphens, a letter first, no hyphen and number at the end."
            )

    @property
    def vm_size(self) -> str:
        """Of the machines."""
        return self.size or SIZES[self.gpus]

    @property
    def cluster(self) -> str:
        """The name to look for. The one for one GPU is that of `lookonce azure provision`."""
        if self.name is not None:
            return self.name
        parts = ["lookonce", "" if self.gpus else "cpu"]
        return "-".join(part for part in (*parts, "low" if self.low_priority else "") if part)


def ensure(client: MLClient, wanted: ComputeSpec) -> tuple[str, str]:
    """The cluster's name and a sentence about it; made where there is none. Raises LookonceError.

    A cluster that could not be made is taken away again.
    """
    if wanted.cluster == SERVERLESS:
        return SERVERLESS, f"serverless, one {wanted.vm_size}"
    try:
        found = call(client, lambda: client.compute.get(wanted.cluster))
    except ResourceNotFoundError:
        return wanted.cluster, _make(client, wanted)
    return wanted.cluster, _use(client, wanted, found)


def check_compute(client: MLClient, name: str, kind: str) -> None:
    """Raises LookonceError when the workspace has no compute of that name and kind."""
    try:
        found = call(client, lambda: client.compute.get(name))
    except ResourceNotFoundError:
        known = sorted(
            one.name for one in call(client, lambda: list(client.compute.list())) if str(one.type) == kind
        )
        raise LookonceError(
            f"no compute {name[:60]!r} in workspace {client.workspace_name}; of the kind {kind} there is "
            f"{', '.join(known) or 'none'}. az ml compute attach, or create, adds one."
        ) from None
    if str(found.type) != kind:
        raise LookonceError(f"compute {name} is of the kind {found.type}; needed is one of the kind {kind}.")


def _use(client: MLClient, wanted: ComputeSpec, found: Any) -> str:
    size = str(getattr(found, "size", "") or "")
    if wanted.size and size and size.lower() != wanted.size.lower():
        raise LookonceError(
            f"cluster {wanted.cluster} is there with {size}, not {wanted.size}. Choose another --compute "
            "name, or leave --vm-size out."
        )
    tier = str(getattr(found, "tier", "") or "").lower().replace("_", "")
    if wanted.low_priority and tier == "dedicated":
        raise LookonceError(
            f"cluster {wanted.cluster} is there with dedicated machines, which can't be changed. Choose "
            "another --compute name for --low-priority."
        )
    most = getattr(found, "max_instances", None)
    if most is not None and most < 1:
        raise LookonceError(
            f"cluster {wanted.cluster} has {most} nodes at most. Raise it: az ml compute update --name "
            f"{wanted.cluster} --max-instances 1; or choose another --compute name."
        )
    return f"{wanted.cluster} ({size or found.type}), which was there"


def _make(client: MLClient, wanted: ComputeSpec) -> str:
    from azure.ai.ml.entities import AmlCompute

    cluster = AmlCompute(
        name=wanted.cluster,
        size=wanted.vm_size,
        min_instances=0,
        max_instances=1,
        idle_time_before_scale_down=wanted.idle_seconds,
        tier="low_priority" if wanted.low_priority else "dedicated",
    )
    try:
        call(client, lambda: client.compute.begin_create_or_update(cluster).result())
    except LookonceError as error:
        raise LookonceError(f"{error} {_take_away(client, wanted.cluster)}") from error
    price = "low priority, " if wanted.low_priority else ""
    return (
        f"{wanted.cluster} made: {wanted.vm_size}, {price}0 to 1 nodes, none after "
        f"{wanted.idle_seconds // 60} idle minutes"
    )


def _take_away(client: MLClient, name: str) -> str:
    try:
        with sdk_silenced():
            client.compute.begin_delete(name).result()
    except ResourceNotFoundError:
        pass
    except Exception as error:
        return (
            f"The cluster {name} stays behind in a failed state ({explain(error)}); delete it in the portal."
        )
    return "Nothing was left behind."
