"""Check what the Azure commands need: config.json, sign-in, workspace, compute, storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.azure.blobs import RAW, TRAINING, BlobAccount, check_container_name
from lookonce.azure.errors import explain
from lookonce.azure.session import (
    OLD_NAMES,
    WorkspaceConfig,
    adopt_old_names,
    credential,
    find_config,
    management_scope,
    open_workspace,
    token_user,
)
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


@dataclass(frozen=True)
class Line:
    """One finding: what was checked, whether it is in order, and its state or the fix."""

    what: str
    ok: bool
    text: str


def check(config: Path | None = None) -> Iterator[Line]:
    """Yield one line per check; skip checks whose preconditions failed."""
    if old := adopt_old_names():
        names = ", ".join(f"{name} (now {OLD_NAMES[name]})" for name in old)
        yield Line("variables", True, f"older names are used: {names}")
    place: WorkspaceConfig | None = None
    try:
        place = find_config(config)
        yield Line(
            "config.json", True, f"{place.file}: workspace {place.workspace_name} in {place.resource_group}"
        )
    except LookonceError as error:
        yield Line("config.json", False, str(error))
    who = credential()
    signed_in = True
    try:
        yield Line("signed in", True, f"as {token_user(who.get_token(management_scope()).token)}")
    except Exception as error:
        signed_in = False
        yield Line("signed in", False, explain(error))
    if place is not None and signed_in:
        yield from _workspace(open_workspace(place, who), place)
    yield from _storage()


def _workspace(client: MLClient, place: WorkspaceConfig) -> Iterator[Line]:
    steps: dict[str, Callable[[], str]] = {
        "workspace": lambda: _described(client, place),
        "compute": lambda: _computes(client),
        "datastore": lambda: _datastore(client),
    }
    for what, describe in steps.items():
        try:
            yield Line(what, True, describe())
        except Exception as error:
            yield Line(what, False, explain(error))
            if what == "workspace":
                return


def _described(client: MLClient, place: WorkspaceConfig) -> str:
    found: Any = client.workspaces.get(place.workspace_name)
    return f"{found.name} in {found.location}"


def _computes(client: MLClient) -> str:
    found = [f"{one.name} ({getattr(one, 'size', None) or one.type})" for one in client.compute.list()]
    return ", ".join(found) if found else "none yet; the first training creates one"


def _datastore(client: MLClient) -> str:
    found: Any = client.datastores.get_default()
    return f"{found.name}, container {getattr(found, 'container_name', '?')}"


def _storage() -> Iterator[Line]:
    """Check the account and containers of `lookonce storage`."""
    try:
        account = BlobAccount.from_environment()
    except LookonceError as error:
        yield Line("storage", False, str(error))
        return
    for variable in (RAW, TRAINING):
        name = os.environ.get(variable, "").strip()
        if not name:
            yield Line("storage", False, f"{variable} is not set; it names a container for images")
            continue
        try:
            check_container_name(name)
            exists = account.container(name).exists()
            yield Line(
                "storage",
                True,
                f"container {name} {'exists' if exists else 'will be created by the first upload'}",
            )
        except LookonceError as error:
            yield Line("storage", False, str(error))
        except Exception as error:
            yield Line("storage", False, f"container {name}: {explain(error)}")
