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

from lookonce.azure.refusals import refusal

# Signatures, keys and tokens as they stand in addresses, connection strings and headers.
_SECRETS = re.compile(
    r"(?i)((?:sig|se|sp|sv|accountkey|sharedaccesskey|client_secret|password|code)=)[^&;\s\"']+"
    r"|(Bearer\s+|SharedKey\s+)\S+|eyJ[\w-]+\.[\w-]+\.[\w-]*"
)
_MOST = 400
_HOST = re.compile(r"host='([^']+)'")
_CERTIFICATE = (
    "the certificate isn't trusted; behind a proxy that opens TLS, name its authority's file in "
    "REQUESTS_CA_BUNDLE"
)
# Entra's numbers, and what they mean for a person.
_ENTRA = {
    "7000215": "the client secret is wrong; check AZURE_CLIENT_SECRET (its value, not its id)",
    "7000222": "the client secret has expired; make a new one, and set AZURE_CLIENT_SECRET",
    "700016": "there is no such application in the tenant; check AZURE_CLIENT_ID and AZURE_TENANT_ID",
    "90002": "there is no such tenant; check AZURE_TENANT_ID",
    "900023": "there is no such tenant; check AZURE_TENANT_ID",
    "70043": "the sign-in has expired; run az login",
    "700082": "the sign-in has expired; run az login",
    "50173": "the sign-in has expired; run az login",
    "50076": "a second factor is asked for; run az login",
}


def explain(error: BaseException) -> str:
    """What went wrong and, where it is known, what to do: for a person, in one line."""
    if isinstance(error, ClientAuthenticationError) and not error.status_code:
        return _not_signed_in(error)
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return _unreachable(error)
    if isinstance(error, HttpResponseError):
        return _short(without_secrets(refusal(error)))
    if isinstance(error, AzureError):
        return _first_line(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"{type(error).__name__}: {_first_line(error)}"


def without_secrets(text: str) -> str:
    """`text` with keys, signatures and tokens struck out."""
    return _SECRETS.sub(lambda found: f"{found[1] or found[2] or ''}***", text)


def _not_signed_in(error: BaseException) -> str:
    text = without_secrets(str(error))
    if number := re.search(r"AADSTS(\d+)", text):
        meaning = _ENTRA.get(number[1])
        if meaning is None:
            said = re.search(rf"AADSTS{number[1]}: ([^\n]+)", text)
            meaning = (
                f"{said[1].rstrip('.') if said else 'refused'}; run az login, or check the AZURE_… variables"
            )
        return f"not signed in (AADSTS{number[1]}): {meaning}"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"signing in failed: {_CERTIFICATE}"
    if found := re.search(r"HTTP Error: (5\d\d|429)", text):
        return f"the sign-in service answered {found[1]}; it is busy or down, try again later"
    if found := re.search(
        r"Failed to resolve '([^']+)'|Failed to establish a new connection|timed out", text
    ):
        host = f" {found[1]}" if found[1] else ""
        return f"the sign-in service{host} can't be reached; check the network and the proxy"
    return (
        f"not signed in ({_first_line(error).rstrip('.')}); run az login, or set AZURE_TENANT_ID, "
        "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
    )


def _unreachable(error: BaseException) -> str:
    text = without_secrets(str(error))
    found = _HOST.search(text)
    host = found[1] if found else "the service"
    if "Failed to resolve" in text or "NameResolution" in text:
        return f"{host} can't be reached, for its name isn't known; check the name and the network"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"{host} can't be reached: {_CERTIFICATE}"
    if "aborted" in text.lower() or "reset" in text.lower() or "closed connection" in text:
        return f"the connection to {host} broke; check the network, then run the command again"
    if "proxy" in text.lower():
        return f"{host} can't be reached, for the proxy doesn't lead there; check HTTPS_PROXY and NO_PROXY"
    if "refused" in text:
        return f"{host} can't be reached, for nobody listens there; check the address and the network"
    if "timed out" in text.lower():
        return f"{host} can't be reached, for it doesn't answer in time; check the network, then try again"
    return f"{host} can't be reached ({_first_line(error)}); check the network and the address"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in without_secrets(str(error)).splitlines() if line.strip()]
    return _short(lines[0] if lines else type(error).__name__)


def _short(line: str) -> str:
    return line if len(line) <= _MOST else f"{line[:_MOST]}…"
