"""Azure's refusals in one line, without what they repeat of a request."""

from __future__ import annotations

import re

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

# Signatures, keys and tokens as they stand in addresses, connection strings and headers.
_SECRETS = re.compile(
    r"(?i)((?:sig|se|sp|sv|accountkey|sharedaccesskey|client_secret|password|code)=)[^&;\s\"']+"
    r"|(Bearer\s+|SharedKey\s+)\S+|eyJ[\w-]+\.[\w-]+\.[\w-]*"
)
_MOST = 300


def explain(error: BaseException) -> str:
    """What went wrong and, where it is known, what to do: for a person, in one line."""
    if isinstance(error, ClientAuthenticationError):
        return _refused(error) if error.status_code else _not_signed_in(error)
    if isinstance(error, HttpResponseError):
        return _refused(error)
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return f"the service can't be reached ({_first_line(error)}); check the network and the address"
    if isinstance(error, AzureError):
        return _first_line(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"{type(error).__name__}: {_first_line(error)}"


def without_secrets(text: str) -> str:
    """`text` with keys, signatures and tokens struck out."""
    return _SECRETS.sub(lambda found: f"{found[1] or found[2] or ''}***", text)


def _refused(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None)
    # Storage has an enum of them, other services have text.
    named = str(getattr(code, "value", code) or error.reason or "")
    mend = {
        401: "the credential isn't taken; sign in again or check the key",
        403: "no access; check the key, its expiry, or your role on the account",
        404: "there is no such thing",
        409: "something else has the name, or is working on it; try again in a minute",
        412: "it was changed by someone else meanwhile; run the command again",
        429: "too many requests; try again later, or with fewer at once",
        503: "the service is busy; try again later, or with fewer at once",
    }.get(error.status_code or 0, _first_line(error))
    return f"Azure answered {error.status_code} {named}: {mend}"


def _not_signed_in(error: BaseException) -> str:
    return (
        f"not signed in ({_first_line(error)}); run az login, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and "
        "AZURE_CLIENT_SECRET"
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in without_secrets(str(error)).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= _MOST else f"{line[:_MOST]}…"
