"""Pin the packages of jobs and deployments to the versions installed here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement

from lookonce.errors import LookonceError

_NAME = re.compile(r"[-_.]+")


def locked(extras: Iterable[str], leave_out: Iterable[str] = ()) -> list[str]:
    """Return `name==version` for every dependency of lookonce with `extras`, as installed here.

    Packages in `leave_out` and their own dependencies are skipped. Markers are evaluated for this Python on
    Linux, where jobs run. Raises LookonceError for a package that is not installed.
    """
    without = {_normal(name) for name in leave_out}
    found: dict[str, str] = {}
    visited: set[tuple[str, frozenset[str]]] = set()
    waiting: list[tuple[str, frozenset[str]]] = [("lookonce", frozenset(extras))]
    while waiting:
        name, chosen_extras = waiting.pop()
        if (name, chosen_extras) in visited or name in without:
            continue
        visited.add((name, chosen_extras))
        installed = _installed(name)
        if name != "lookonce":
            found[name] = f"{installed.metadata['Name']}=={_public(installed.version)}"
        for text in installed.requires or ():
            requirement = Requirement(text)
            if _applies(requirement, chosen_extras):
                waiting.append((_normal(requirement.name), frozenset(requirement.extras)))
    return [found[name] for name in sorted(found)]


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    if requirement.marker is None:
        return True
    surroundings: dict[str, Any] = {
        **default_environment(),
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": "x86_64",
    }
    return any(requirement.marker.evaluate({**surroundings, "extra": extra}) for extra in (*extras, ""))


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise LookonceError(
            f"{name} is not installed here, and jobs use the versions installed here. Install it with: "
            "pip install 'lookonce[azure,tensorflow]'"
        ) from error


def _public(version: str) -> str:
    """Strip the label of a local build such as +cpu, which no package index has."""
    return version.partition("+")[0]


def _normal(name: str) -> str:
    return _NAME.sub("-", name).lower()
