"""Authorization for endpoints: two keys, or tokens, depending on authMode."""

from __future__ import annotations

import secrets
import time
from typing import Any

from azure.ai.ml._restclient.arm_ml_service import models

from azure_stand_in import rules
from azure_stand_in.kinds import Kind
from azure_stand_in.operations import Operations
from azure_stand_in.resources import Resources
from azure_stand_in.tokens import Tokens
from azure_stand_in.wire import Answer, ArmError, Request

_REGENERATE = Kind("Key", models.RegenerateEndpointKeysRequest, "")
_SECONDS = 3600


class EndpointKeys:
    """The keys of every endpoint, created on first use."""

    def __init__(self, resources: Resources, operations: Operations, tokens: Tokens) -> None:
        self._resources, self._operations, self._tokens = resources, operations, tokens
        self._keys: dict[str, dict[str, str]] = {}

    def of(self, place: str) -> dict[str, str]:
        """Return both keys of the endpoint at `place`."""
        made = {"primaryKey": secrets.token_urlsafe(24), "secondaryKey": secrets.token_urlsafe(24)}
        return self._keys.setdefault(place.lower(), made)

    def given(self, place: str, keys: dict[str, str]) -> None:
        """Set keys that were sent with the endpoint; both are required."""
        if {name for name, value in keys.items() if value} != {"primaryKey", "secondaryKey"}:
            raise ArmError(
                400, "BadArgument", "Both primaryKey and secondaryKey must be given.", "BadArgument"
            )
        self._keys[place.lower()] = dict(keys)

    def forget(self, place: str) -> None:
        """Delete the keys of a deleted endpoint; a new endpoint of its name gets others."""
        self._keys.pop(place.lower(), None)

    def list(self, place: str, request: Request) -> Answer:
        """Answer POST listKeys."""
        self._mode(place, "Key")
        return Answer(content=self.of(place))

    def regenerate(self, place: str, request: Request) -> Answer:
        """Answer POST regenerateKeys with a new key, or a given one that differs from the old one."""
        self._mode(place, "Key")
        body = request.json()
        rules.check_body(_REGENERATE, body)
        name = f"{body['keyType'].lower()}Key"

        def change() -> None:
            keys, value = self.of(place), body.get("keyValue")
            keys[name] = value if value and value not in keys.values() else secrets.token_urlsafe(24)

        return Answer(202, headers=self._operations.begin(change))

    def token(self, place: str, request: Request) -> Answer:
        """Answer POST token, for endpoints that use the workspace's tokens."""
        self._mode(place, "AMLToken")
        now = int(time.time())
        content = {
            "accessToken": self._tokens.make(_audience(place), _SECONDS),
            "tokenType": "Bearer",
            "expiryTimeUtc": now + _SECONDS,
            "refreshAfterTimeUtc": now + _SECONDS // 2,
        }
        return Answer(content=content)

    def refusal(self, place: str, mode: str, request: Request) -> str:
        """Return why a scoring request is rejected, or an empty string."""
        kind, _, shown = request.headers.get("authorization", "").partition(" ")
        if mode == "Key":
            right = [key for key in self.of(place).values() if secrets.compare_digest(key, shown)]
            return "" if kind.lower() == "bearer" and right else "key_auth_access_denied"
        try:
            audience = self._tokens.check(request)["aud"]
        except ArmError:
            return "token_auth_access_denied"
        wanted = _audience(place) if mode == "AMLToken" else "https://ml.azure.com"
        return "" if str(audience).rstrip("/") == wanted else "token_auth_access_denied"

    def _mode(self, place: str, wanted: str) -> dict[str, Any]:
        properties: dict[str, Any] = self._resources.get(place)["properties"]
        if properties["authMode"].lower() != wanted.lower():
            text = f"The endpoint's authMode is {properties['authMode']}; this needs {wanted}."
            raise ArmError(400, "BadArgument", text, "BadArgument")
        return properties


def _audience(place: str) -> str:
    return f"endpoint:{place.lower()}"
