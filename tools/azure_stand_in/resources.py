"""What the workspace holds: resources as the resource manager writes them, by ids without case."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from azure_stand_in.wire import not_found

PROVIDER = "Microsoft.MachineLearningServices"
Resource = dict[str, Any]


class Resources:
    """Every resource of one workspace. What goes in and out is copied; `change` alters one in its place."""

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace
        self._all: dict[str, Resource] = {}
        self._lock = threading.RLock()

    def __contains__(self, place: str) -> bool:
        return self._key(place) in self._all

    def get(self, place: str) -> Resource:
        """The resource at a place below the workspace ("models/cars/versions/1") or with a whole id."""
        with self._lock:
            try:
                return copy.deepcopy(self._all[self._key(place)])
            except KeyError:
                raise not_found(place.removeprefix(self.workspace)) from None

    def put(self, place: str, body: Mapping[str, Any]) -> Resource:
        """Make or replace one. The first time of making stays."""
        parts = place.split("/")
        with self._lock:
            before = self._all.get(self._key(place), {})
            made = before.get("systemData", {}).get("createdAt", now())
            self._all[self._key(place)] = {
                "id": f"{self.workspace}/{place}",
                "name": parts[-1],
                "type": f"{PROVIDER}/workspaces/{'/'.join(parts[::2])}",
                **copy.deepcopy(dict(body)),
                "systemData": {
                    "createdAt": made,
                    "createdBy": "stand-in",
                    "createdByType": "Application",
                    "lastModifiedAt": now(),
                    "lastModifiedBy": "stand-in",
                    "lastModifiedByType": "Application",
                },
            }
            return self.get(place)

    def change(self, place: str, **properties: Any) -> None:
        """Set properties of one, if it is still there."""
        with self._lock:
            if (found := self._all.get(self._key(place))) is not None:
                found["properties"].update(copy.deepcopy(properties))

    def delete(self, place: str) -> list[str]:
        """Take one and all below it away; the ids of those that went."""
        key = self._key(place)
        with self._lock:
            gone = [one for one in self._all if one == key or one.startswith(f"{key}/")]
            return [str(self._all.pop(one)["id"]) for one in gone]

    def below(self, collection: str) -> Iterator[Resource]:
        """The members of "models" or "models/cars/versions", the newest first."""
        start = f"{self._key(collection)}/"
        with self._lock:
            found = [
                copy.deepcopy(one)
                for key, one in self._all.items()
                if key.startswith(start) and "/" not in key[len(start) :]
            ]
        yield from sorted(found, key=lambda one: one["systemData"]["createdAt"], reverse=True)

    def _key(self, place: str) -> str:
        return place.lower().removeprefix(f"{self.workspace.lower()}/").strip("/")


def now() -> str:
    """As Azure writes times."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
