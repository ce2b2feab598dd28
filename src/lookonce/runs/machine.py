"""A description of the machine that a run ran on."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lookonce.io.parallel import available_cores


def describe_machine(backend: str) -> dict[str, Any]:
    """Return processor, cores, memory in GB, accelerators, system, and the versions of the libraries."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "memory_gb": _memory_gb(),
        "accelerators": _accelerators(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "backend": backend,
        "versions": {name: found for name in ("keras", backend, "numpy") if (found := _version(name))},
    }


def most_memory_gb() -> float | None:
    """Return the peak memory of this process in GB; None where it is unknown."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(most / (2**30 if sys.platform == "darwin" else 2**20), 2)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _accelerators() -> list[str]:
    """Return the accelerators of backends that are imported already."""
    try:
        if (jax := sys.modules.get("jax")) is not None:
            return [str(one.device_kind) for one in jax.devices() if one.platform != "cpu"]
        if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
            return [torch.cuda.get_device_name(one) for one in range(torch.cuda.device_count())]
        if (tensorflow := sys.modules.get("tensorflow")) is not None:
            config = tensorflow.config
            found = config.list_physical_devices("GPU")
            return [
                str(config.experimental.get_device_details(one).get("device_name", one.name)) for one in found
            ]
    # A driver that fails here is no reason to stop a training.
    except Exception:
        return []
    return []


def _version(name: str) -> str | None:
    for package in (name, f"{name}-cpu"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None
