"""Which storage account and container a command means, and who opens it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

RAW, TRAINING = "STORAGE_CONTAINER_NAME_RAWDATA", "STORAGE_CONTAINER_NAME_TRAINDATA"
_CONTAINER = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]\Z")
_FIX = (
    "Set STORAGE_CONNECTION_STRING, or STORAGE_ACCOUNT_NAME with STORAGE_ACCOUNT_KEY, or "
    "STORAGE_ACCOUNT_NAME alone and sign in (az login, or the AZURE_… variables of a service principal)"
)
# One connection a thread, and none that a dead network holds for minutes.
_CONNECT_SECONDS, _READ_SECONDS = 20, 120


@dataclass(frozen=True)
class BlobAccount:
    """How the storage account is reached; never shown, for it holds the key."""

    connection_string: str | None = None
    account_url: str | None = None
    key: str | None = None
    signature: str | None = None

    @classmethod
    def from_environment(cls, environment: dict[str, str] | None = None) -> BlobAccount:
        """By the variables that the predecessor used, too. Raises LookonceError."""
        given = dict(os.environ) if environment is None else environment
        text = given.get("STORAGE_CONNECTION_STRING", "").strip()
        name, key = (given.get(f"STORAGE_ACCOUNT_{part}", "").strip() for part in ("NAME", "KEY"))
        if text:
            return cls(connection_string=text)
        if not name:
            raise LookonceError(f"no storage account is named. {_FIX}.")
        suffix = given.get("STORAGE_ENDPOINT_SUFFIX", "").strip() or "core.windows.net"
        url = name if "://" in name else f"https://{name}.blob.{suffix}"
        return cls(account_url=url, key=key or None)

    def container(self, name: str, connections: int = 8) -> ContainerClient:
        """The client of one container, which needn't exist yet. Raises LookonceError."""
        from azure.storage.blob import BlobServiceClient, ContainerClient
        from requests import Session
        from requests.adapters import HTTPAdapter

        check_container_name(name)
        # The default pool keeps ten connections, and opens one anew for every further thread's request.
        session = Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_connections=connections, pool_maxsize=connections))
        options: dict[str, Any] = {
            "session": session,
            "connection_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
            # `attempts` does it, where 429 counts, too.
            "retry_total": 0,
        }
        try:
            if self.connection_string is not None:
                service = BlobServiceClient.from_connection_string(self.connection_string, **options)
                return service.get_container_client(name)
            assert self.account_url is not None
            credential: Any = self.key
            if self.signature is not None:
                from azure.core.credentials import AzureSasCredential

                credential = AzureSasCredential(self.signature.lstrip("?"))
            elif credential is None:
                from azure.identity import DefaultAzureCredential

                credential = DefaultAzureCredential()
            return ContainerClient(self.account_url, name, credential=credential, **options)
        # Not the text of it: it may repeat the connection string.
        except (ValueError, KeyError, TypeError) as error:
            raise LookonceError(
                f"the storage account's connection string or key can't be read "
                f"({type(error).__name__}). {_FIX}."
            ) from None

    def __repr__(self) -> str:
        """Without what opens the account."""
        return "BlobAccount(…)"


def container_name(given: str | None, variable: str) -> str:
    """The container that --container or the variable names. Raises LookonceError."""
    name = (given or os.environ.get(variable, "")).strip()
    if not name:
        raise LookonceError(f"no container is named. Give --container NAME, or set {variable}.")
    check_container_name(name)
    return name


def check_container_name(name: str) -> None:
    """Raise LookonceError for a name that Azure would refuse."""
    if not _CONTAINER.match(name):
        raise LookonceError(
            f"{name[:80]!r} is no container name; expected 3 to 63 small letters, digits and single hyphens, "
            "a letter or digit at both ends."
        )
