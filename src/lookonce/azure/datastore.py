"""Datastores of the workspace: where their container is, and a new one for an account of the user's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.ask import ask
from lookonce.azure.blob_account import TRAINING, BlobAccount, container_name
from lookonce.azure.workspace import storage_suffix
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.storage.blob import ContainerClient

_NAME = re.compile(r"[a-zA-Z0-9_]{1,255}\Z")
_ADDRESS = re.compile(r"/datastores/([^/]+)/paths/(.*)\Z")


@dataclass(frozen=True)
class Datastore:
    """One, with a client of its container."""

    name: str
    container: ContainerClient

    def address(self, path: str) -> str:
        """Of a path in it, as jobs and assets take it."""
        return f"azureml://datastores/{self.name}/paths/{path}"


def find_datastore(client: MLClient, name: str | None = None) -> Datastore:
    """The one called so, or the workspace's own. Raises LookonceError, ResourceNotFoundError."""
    found: Any = ask(
        client,
        lambda: (
            client.datastores.get(name, include_secrets=True)
            if name
            else client.datastores.get_default(include_secrets=True)
        ),
    )
    account, container = getattr(found, "account_name", None), getattr(found, "container_name", None)
    if not account or not container:
        raise LookonceError(
            f"datastore {found.name} is of type {found.type}; expected one of a blob container."
        )
    url = f"{found.protocol or 'https'}://{account}.blob.{storage_suffix(found.endpoint)}"
    # Of these, what the workspace gives out; none where it goes by identities.
    opens = found.credentials
    account_of = BlobAccount(
        account_url=url,
        key=getattr(opens, "account_key", None),
        signature=getattr(opens, "sas_token", None),
    )
    return Datastore(str(found.name), account_of.container(str(container), 16))


def datastore_of(client: MLClient, address: str) -> tuple[Datastore, str]:
    """Datastore and path that a long `azureml://` address names. Raises LookonceError."""
    found = _ADDRESS.search(address)
    if found is None:
        raise LookonceError(
            f"{address}: names no datastore; expected azureml://…/datastores/NAME/paths/PATH."
        )
    return find_datastore(client, found[1]), found[2].strip("/")


def ensure_datastore(client: MLClient, name: str) -> tuple[Datastore, bool]:
    """The one called so, registered from the variables of `lookonce storage` where there is none yet."""
    if not _NAME.match(name):
        raise LookonceError(
            f"--ds-name {name[:60]!r} is no name for a datastore; expected letters, digits and underscores."
        )
    try:
        return find_datastore(client, name), False
    except ResourceNotFoundError:
        pass
    from azure.ai.ml.entities import AccountKeyConfiguration, AzureBlobDatastore

    account = BlobAccount.from_environment()
    container = container_name(None, TRAINING)
    # The account's name and key, wherever they were given.
    opened = account.container(container)
    key = getattr(opened.credential, "account_key", None)
    store = AzureBlobDatastore(
        name=name,
        account_name=str(opened.account_name),
        container_name=container,
        endpoint=storage_suffix("core.windows.net"),
        credentials=AccountKeyConfiguration(account_key=key) if key else None,
    )
    ask(client, lambda: client.datastores.create_or_update(store))
    return find_datastore(client, name), True
