"""Connections of a workspace; their secrets are returned by listSecrets only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from azure.ai.ml._restclient.arm_ml_service import models

from azure_stand_in.kinds import KINDS, Kind
from azure_stand_in.management import Management
from azure_stand_in.resources import Resource, Resources
from azure_stand_in.wire import Answer, Request

_KIND = Kind(
    "Connection",
    models.WorkspaceConnectionPropertiesV2BasicResource,
    r"[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}",
    {"metadata": {}, "sharedUserList": []},
)


class Connections:
    """The credentials of all connections, as in the workspace's key vault."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self.secrets: dict[str, Any] = {}

    def join(self, management: Management) -> None:
        """Register handlers for connections at the management plane."""
        KINDS["connections"] = _KIND
        prepared, gone = management.prepared, management.gone

        def all_prepared(place: str, body: Resource) -> Resource:
            body = prepared(place, body)
            if place.startswith("connections/"):
                self.secrets[place.lower()] = body["properties"].get("credentials")
                body["properties"]["credentials"] = None
            return body

        def all_gone(ids: list[str]) -> None:
            gone(ids)
            for one in ids:
                self.secrets.pop("connections/" + one.rpartition("/connections/")[2].lower(), None)

        answer = management.answer

        def all_answered(place: str, request: Request) -> Answer:
            reply = answer(place, request)
            # The response is the same for a new and an updated connection.
            return replace(reply, status=200) if place.startswith("connections/") else reply

        management.answer = all_answered
        management.prepared, management.gone = all_prepared, all_gone
        management.actions["connections", "listsecrets"] = self._list_secrets

    def _list_secrets(self, place: str, request: Request) -> Answer:
        found = self._resources.get(place)
        secret = {**found["properties"], "credentials": self.secrets.get(place.lower())}
        return Answer(content={**found, "properties": secret})
