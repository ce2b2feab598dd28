"""Turn Azure's error responses into one line for a person: what failed, and what fixes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

_ACTION = re.compile(r"perform action '(?:Microsoft\.)?([^']+)'")
_LOG = re.compile(r"under the path \"?([^\"\s]+)\"?")
# Where the services' sentences turn to their documentation.
_ADVICE = re.compile(r" (Please see troubleshooting|Talk to your|For more details|If access was recently).*$")
_ROLE = "AzureML Data Scientist (for clusters also AzureML Compute Operator)"
_QUOTA = (
    "choose a smaller machine size or fewer machines, or request more in the Azure portal, under Quotas > "
    "Machine Learning"
)
_BUSY = "try again later, or with fewer at once"
_SIGN_IN = "run az login again, or check the service principal's secret and this machine's clock"
# A pattern that is searched for in the error codes, narrowest first, and in the reason; then the advice.
_FIXES = (
    (r"quota", "{reason}; " + _QUOTA),
    (r"imagebuildfail|image build fail", "the environment's image failed to build{log}"),
    (
        r"resourcenotready",
        "{reason}; read the container's log (lookonce deploy logs), or run the same model on this machine "
        "(lookonce deploy local)",
    ),
    (r"endpoint with this name", "the name is taken by another endpoint in the region; choose another"),
    (
        r"immutablepropertychanged|version already exists",
        "this name and version exist with other content; choose another name or version",
    ),
    (r"^(expired\w*token)", "the sign-in has expired; " + _SIGN_IN),
    (r"^(invalid\w*token\w*|authenticationfailed|authenticationfailedinvalid\w*)$", "{credential}"),
    (r"^authorizationfailed$", "{role}"),
    (
        r"authorizationpermissionmismatch",
        "this identity has no role for this storage; ask its owner for Storage Blob Data Contributor",
    ),
    (r"throttl|toomanyrequests", "too many requests{wait}; " + _BUSY),
    (r"operation in progress", "{reason}; wait until it finishes, then run the command again"),
)
_BY_STATUS = {
    401: "the credential was rejected; sign in again or check the key",
    403: "no access; check the key, its expiry, or your role on the account",
    404: "not found ({reason})",
    409: "the name is taken, or another operation is running; try again in a minute",
    412: "it was changed by someone else; run the command again",
    429: "too many requests{wait}; " + _BUSY,
    503: "the service is busy; " + _BUSY,
}
# These codes mean that config.json names no existing workspace.
_PLACES = ("subscriptionnotfound", "invalidsubscriptionid", "resourcegroupnotfound", "resourcenotfound")


def refusal(error: HttpResponseError) -> str:
    """Return code, meaning and fix in one line; it may repeat secrets of the request."""
    known = [*codes(error)]
    sentence = _ADVICE.sub("", " ".join(reason(error).partition("\n")[0].split()))
    sentence = sentence.removeprefix(f"{known[0]}: " if known else "").strip().rstrip(".")
    searched = [*(code.lower() for code in known), sentence.lower()]
    fix = next((text for pattern, text in _FIXES if any(re.search(pattern, one) for one in searched)), None)
    if workspace_missing(error):
        fix = "{reason}; check config.json, and that you are signed in to its tenant"
    fix = fix or _BY_STATUS.get(error.status_code or 0, "{reason}")
    words = {
        "reason": sentence,
        "log": _log(sentence),
        "wait": _wait(error),
        "role": _role(sentence),
        "credential": _BY_STATUS[403 if error.status_code == 403 else 401],
    }
    code = known[0] if known else str(error.reason or "")
    # The state of a failed operation comes with status 200.
    status = error.status_code or 0
    return f"Azure answered {f'{status} ' if status >= 400 else ''}{code}: {fix.format(**words)}"


def codes(error: HttpResponseError) -> Iterator[str]:
    """Yield the error codes of a response, the narrowest first."""
    inner = getattr(error, "error", None)
    found = [*_codes(inner)] if inner is not None else []
    code = getattr(error, "error_code", None)
    # Storage has an enum of them, other services have text.
    found.append(str(getattr(code, "value", code) or ""))
    general = {"usererror", "badrequest", "badargument", "inferencingclientcallfailed", ""}
    yield from dict.fromkeys(one for one in found if one.lower() not in general)
    yield from dict.fromkeys(one for one in found if one and one.lower() in general)


def reason(error: HttpResponseError) -> str:
    """Return the service's sentence about the error, without its JSON wrapping."""
    inner = getattr(error, "error", None)
    for detail in getattr(inner, "details", None) or ():
        if text := _unwrapped(str(getattr(detail, "message", "") or "")):
            return text
    text = str(getattr(inner, "message", "") or "") or str(error.message or error)
    return _unwrapped(text) or text


def workspace_missing(error: BaseException) -> bool:
    """Return whether the subscription, resource group or workspace is missing, not something in it."""
    if not isinstance(error, HttpResponseError) or error.status_code != 404:
        return False
    known = [code.lower() for code in codes(error)]
    return any(code in _PLACES[:3] for code in known) or (
        _PLACES[3] in known
        and re.search(r"MachineLearningServices/workspaces/[^/']+'", reason(error)) is not None
    )


def _codes(inner: Any) -> Iterator[str]:
    if isinstance(inner, Mapping):
        yield from _codes(inner.get("innererror") or inner.get("innerError"))
        yield str(inner.get("code") or "")
        return
    if inner is None:
        return
    yield from _codes(getattr(inner, "innererror", None))
    for detail in getattr(inner, "details", None) or ():
        yield from _codes(detail)
    # A deployment's operation has no code, but its message begins with one.
    word = re.match(r"([A-Z][a-z]+(?:[A-Z][a-z]+)+): ", str(getattr(inner, "message", "") or ""))
    yield str(getattr(inner, "code", "") or "") or (word[1] if word else "")


def _unwrapped(text: str) -> str:
    """Return the text inside the JSON that one service puts into another's message."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    errors = found.get("errors") if isinstance(found, Mapping) else None
    if not isinstance(errors, Mapping):
        return str(found.get("title") or text) if isinstance(found, Mapping) else text
    return "; ".join(
        str(one) for each in errors.values() for one in (each if isinstance(each, list) else [each])
    )


def _wait(error: HttpResponseError) -> str:
    headers = getattr(error.response, "headers", None) or {}
    seconds = str(headers.get("Retry-After", ""))
    return f"; retry after {seconds} s" if seconds.isdigit() else ""


def _log(sentence: str) -> str:
    if found := _LOG.search(sentence):
        return f"; the log is in the workspace's storage, at {found[1].rstrip('.')}"
    return "; see its build log"


def _role(sentence: str) -> str:
    found = _ACTION.search(sentence)
    what = f"this identity may not do {found[1]}" if found else "this identity may not do this"
    return f"{what}; ask the workspace's owner for the role {_ROLE}; it takes effect after some minutes"


# Signatures, keys and tokens in addresses, connection strings and headers.
_SECRETS = re.compile(
    r"(?i)((?:sig|se|sp|sv|accountkey|sharedaccesskey|client_secret|password|code)=)[^&;\s\"']+"
    r"|(Bearer\s+|SharedKey\s+)\S+|eyJ[\w-]+\.[\w-]+\.[\w-]*"
)
_MOST = 400
_HOST = re.compile(r"host='([^']+)'")
_CERTIFICATE = (
    "the certificate is not trusted; behind a proxy that intercepts TLS, set REQUESTS_CA_BUNDLE to its "
    "authority's file"
)
# Entra's error numbers, their meaning and their fix.
_ENTRA = {
    "7000215": "the client secret is wrong; check AZURE_CLIENT_SECRET (its value, not its id)",
    "7000222": "the client secret has expired; create a new one, and set AZURE_CLIENT_SECRET",
    "700016": "there is no such application in the tenant; check AZURE_CLIENT_ID and AZURE_TENANT_ID",
    "90002": "there is no such tenant; check AZURE_TENANT_ID",
    "900023": "there is no such tenant; check AZURE_TENANT_ID",
    "70043": "the sign-in has expired; run az login",
    "700082": "the sign-in has expired; run az login",
    "50173": "the sign-in has expired; run az login",
    "50076": "a second factor is required; run az login",
}


def explain(error: BaseException) -> str:
    """Return in one line what went wrong and, where it is known, how to fix it."""
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
    """Return `text` with keys, signatures and tokens replaced by ***."""
    return _SECRETS.sub(lambda found: f"{found[1] or found[2] or ''}***", text)


def _not_signed_in(error: BaseException) -> str:
    text = without_secrets(str(error))
    if number := re.search(r"AADSTS(\d+)", text):
        meaning = _ENTRA.get(number[1])
        if meaning is None:
            found = re.search(rf"AADSTS{number[1]}: ([^\n]+)", text)
            reason = found[1].rstrip(".") if found else "refused"
            meaning = f"{reason}; run az login, or check the AZURE_… variables"
        return f"not signed in (AADSTS{number[1]}): {meaning}"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"signing in failed: {_CERTIFICATE}"
    if found := re.search(r"HTTP Error: (5\d\d|429)", text):
        return f"the sign-in service returned {found[1]}: it is busy or down; try again later"
    if found := re.search(
        r"Failed to resolve '([^']+)'|Failed to establish a new connection|timed out", text
    ):
        host = f" {found[1]}" if found[1] else ""
        return f"the sign-in service{host} is unreachable; check the network and the proxy"
    return (
        f"not signed in ({_first_line(error).rstrip('.')}); run az login, or set AZURE_TENANT_ID, "
        "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
    )


def _unreachable(error: BaseException) -> str:
    text = without_secrets(str(error))
    found = _HOST.search(text)
    host = found[1] if found else "the service"
    if "Failed to resolve" in text or "NameResolution" in text:
        return f"{host} is unreachable: its name does not resolve; check the name and the network"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"{host} is unreachable: {_CERTIFICATE}"
    if "aborted" in text.lower() or "reset" in text.lower() or "closed connection" in text:
        return f"the connection to {host} was lost; check the network, then run the command again"
    if "proxy" in text.lower():
        return f"{host} is unreachable through the proxy; check HTTPS_PROXY and NO_PROXY"
    if "refused" in text:
        return f"{host} is unreachable: connection refused; check the address and the network"
    if "timed out" in text.lower():
        return f"{host} is unreachable: timed out; check the network, then try again"
    return f"{host} is unreachable ({_first_line(error)}); check the network and the address"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in without_secrets(str(error)).splitlines() if line.strip()]
    return _short(lines[0] if lines else type(error).__name__)


def _short(line: str) -> str:
    return line if len(line) <= _MOST else f"{line[:_MOST]}…"
