"""Parallel work within bounds."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Return how many cores this process may use; a container's share is often less than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
