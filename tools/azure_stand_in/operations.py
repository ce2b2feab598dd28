"""Long-running operations: an address for their state, and the work in a thread."""

from __future__ import annotations

import threading
import traceback
import uuid
from collections.abc import Callable
from typing import Any

from azure_stand_in.resources import PROVIDER, now
from azure_stand_in.wire import Answer, ArmError, not_found

LOCATION = "westeurope"
# The real service makes clients wait for seconds.
_NOT_YET = "0001-01-01T00:00:00+00:00"
_SOON = {"x-ms-retry-after-ms": "50"}


class Operations:
    """The operations of a subscription, running and finished."""

    def __init__(self, base: str, subscription: str) -> None:
        self._states: dict[str, dict[str, Any]] = {}
        self._address = (
            f"/subscriptions/{subscription}/providers/{PROVIDER}/locations/{LOCATION}/mfeOperationsStatus/"
        )
        self._base = base

    def begin(self, work: Callable[[], None]) -> dict[str, str]:
        """Start an operation; return the headers with the address of its state."""
        name = uuid.uuid4().hex
        self._states[name] = {
            "id": f"{self._address}{name}",
            "name": name,
            "status": "InProgress",
            "startTime": now(),
            "endTime": _NOT_YET,
            "percentComplete": 0.0,
        }

        def run() -> None:
            error: ArmError | None = None
            try:
                work()
            except ArmError as refusal:
                error = refusal
            except Exception as broken:
                traceback.print_exc()
                error = ArmError(500, "StandInBroke", f"{type(broken).__name__}: {broken}")
            ended = {**self._states[name], "endTime": now(), "status": "Failed" if error else "Succeeded"}
            self._states[name] = {**ended, **(error.body() if error else {})}

        threading.Thread(target=run, daemon=True, name=f"operation-{name}").start()
        return {"Azure-AsyncOperation": f"{self._base}{self._address}{name}?api-version=2024-10-01", **_SOON}

    def answer(self, path: str) -> Answer | None:
        """Return the state of an operation, or None for other paths."""
        if not path.lower().startswith(self._address.lower()):
            return None
        name = path.rpartition("/")[2]
        if name not in self._states:
            raise not_found(f"operation {name}")
        return Answer(content=self._states[name], headers=_SOON)
