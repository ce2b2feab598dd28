"""The workspace's resources, as the resource manager writes them, by case-insensitive ids."""

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
    """All resources of one workspace. They are copied in and out; `change` updates one in place."""

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace
        self._all: dict[str, Resource] = {}
        self._lock = threading.RLock()

    def __contains__(self, place: str) -> bool:
        return self._key(place) in self._all

    def get(self, place: str) -> Resource:
        """Return the resource at a path below the workspace ("models/cars/versions/1") or with a full id."""
        with self._lock:
            try:
                return copy.deepcopy(self._all[self._key(place)])
            except KeyError:
                raise not_found(place.removeprefix(self.workspace)) from None

    def put(self, place: str, body: Mapping[str, Any]) -> Resource:
        """Create or replace a resource; keep its creation time."""
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
        """Update properties of a resource, if it still exists."""
        with self._lock:
            if (found := self._all.get(self._key(place))) is not None:
                found["properties"].update(copy.deepcopy(properties))

    def delete(self, place: str) -> list[str]:
        """Delete a resource and everything below it; return the deleted ids."""
        key = self._key(place)
        with self._lock:
            gone = [one for one in self._all if one == key or one.startswith(f"{key}/")]
            return [str(self._all.pop(one)["id"]) for one in gone]

    def below(self, collection: str) -> Iterator[Resource]:
        """Return the members of "models" or "models/cars/versions", newest first."""
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
    """Return the current time in Azure's format."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
