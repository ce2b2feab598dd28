"""Keys of services that don't tell theirs, kept in the workspace: its key vault, by way of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.ask import ask
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

# A connection's name has 33 letters at most.
_PREFIX = "aci-"
LONGEST = 33 - len(_PREFIX)


def keep(client: MLClient, service: str, address: str, key: str) -> None:
    """Raises LookonceError."""

    def request() -> Any:
        from azure.ai.ml.entities import APIKeyConnection

        connection = APIKeyConnection(name=_PREFIX + service, api_base=address, api_key=key)
        return client.connections.create_or_update(connection)

    ask(client, request)


def find(client: MLClient, service: str) -> str | None:
    """None where none is kept. Raises LookonceError."""
    try:
        found: Any = ask(client, lambda: client.connections.get(_PREFIX + service, populate_secrets=True))
    except ResourceNotFoundError:
        return None
    return str(found.credentials.key) if found.credentials.key else None


def forget(client: MLClient, service: str) -> None:
    """Raises LookonceError; there may be none."""
    try:
        ask(client, lambda: client.connections.delete(_PREFIX + service))
    except ResourceNotFoundError:
        return
    except LookonceError as error:
        raise LookonceError(
            f"the key that the workspace keeps as {_PREFIX}{service} stays: {error}"
        ) from error
