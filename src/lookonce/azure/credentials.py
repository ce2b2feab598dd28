"""Who we are for Azure: azure-identity's variables, or the predecessor's as old names for them."""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

OLD_NAMES = {
    "AML_TENANT_ID": "AZURE_TENANT_ID",
    "AML_PRINCIPAL_ID": "AZURE_CLIENT_ID",
    "AML_PRINCIPAL_PASS": "AZURE_CLIENT_SECRET",
}


def understand_old_names(environment: MutableMapping[str, str] | None = None) -> list[str]:
    """Set today's variables from the predecessor's where they are missing; the old ones that were taken."""
    given = os.environ if environment is None else environment
    taken = []
    for old, new in OLD_NAMES.items():
        if given.get(old) and not given.get(new):
            given[new] = given[old]
            taken.append(old)
    return taken


def credential() -> TokenCredential:
    """A service principal, a managed identity, or whoever ran `az login`, in azure-identity's order."""
    from azure.identity import DefaultAzureCredential

    # It tells of each way that it tried and failed; `explain` says what to do.
    logging.getLogger("azure.identity").setLevel(logging.CRITICAL)
    # Where the authority isn't Microsoft's own, asking Microsoft about it would be wrong.
    elsewhere = "AZURE_AUTHORITY_HOST" in os.environ
    return DefaultAzureCredential(
        exclude_interactive_browser_credential=True, disable_instance_discovery=elsewhere
    )


def who_am_i(token: str) -> str:
    """Of an access token: the user's name, or the application's id. The token itself isn't verified."""
    claims = _claims(token)
    for name in ("upn", "unique_name", "preferred_username"):
        if isinstance(claims.get(name), str):
            return str(claims[name])
    if isinstance(claims.get("appid"), str):
        return f"application {claims['appid']}"
    return "somebody without a name in the token"


def _claims(token: str) -> Mapping[str, Any]:
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
