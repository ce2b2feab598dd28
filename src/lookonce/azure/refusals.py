"""What Azure's refusals mean and what fixes them, by the words that the services use for them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from azure.core.exceptions import HttpResponseError

_ACTION = re.compile(r"perform action '(?:Microsoft\.)?([^']+)'")
_LOG = re.compile(r"under the path \"?([^\"\s]+)\"?")
# Where the services' own sentences begin to speak of their documentation.
_ADVICE = re.compile(r" (Please see troubleshooting|Talk to your|For more details|If access was recently).*$")
_ROLE = "AzureML Data Scientist (for clusters also AzureML Compute Operator)"
_QUOTA = (
    "choose a smaller machine size or fewer machines, or ask for more in the Azure portal, under Quotas > "
    "Machine Learning"
)
_BUSY = "try again later, or with fewer at once"
_SIGN_IN = "run az login again, or check the service principal's secret and this machine's clock"
# What is searched for in the codes, the narrowest first, and in the reason; what to say. {reason} is Azure's.
_FIXES = (
    (r"quota", "{reason}; " + _QUOTA),
    (r"imagebuildfail|image build fail", "the environment's image can't be built{log}"),
    (
        r"resourcenotready",
        "{reason}; the container's log says why (lookonce deploy logs), and lookonce deploy local runs the "
        "same on this machine",
    ),
    (r"endpoint with this name", "the name is taken by another endpoint in the region; choose another"),
    (
        r"immutablepropertychanged|version already exists",
        "this name and version are there with other content; choose another name or version",
    ),
    (r"^(expired\w*token)", "the sign-in has expired; " + _SIGN_IN),
    (r"^(invalid\w*token\w*|authenticationfailed|authenticationfailedinvalid\w*)$", "{credential}"),
    (r"^authorizationfailed$", "{role}"),
    (
        r"authorizationpermissionmismatch",
        "the sign-in has no role for this storage; ask its owner for Storage Blob Data Contributor",
    ),
    (r"throttl|toomanyrequests", "too many requests{wait}; " + _BUSY),
    (r"operation in progress", "{reason}; wait for its end, then run the command again"),
)
_BY_STATUS = {
    401: "the credential isn't taken; sign in again or check the key",
    403: "no access; check the key, its expiry, or your role on the account",
    404: "there is no such thing ({reason})",
    409: "something else has the name, or is working on it; try again in a minute",
    412: "it was changed by someone else meanwhile; run the command again",
    429: "too many requests{wait}; " + _BUSY,
    503: "the service is busy; " + _BUSY,
}
# They all mean that config.json leads nowhere.
_PLACES = ("subscriptionnotfound", "invalidsubscriptionid", "resourcegroupnotfound", "resourcenotfound")


def refusal(error: HttpResponseError) -> str:
    """Code, meaning and fix, in one line that may hold what the service repeated of the request."""
    known = [*codes(error)]
    said = _ADVICE.sub("", " ".join(reason(error).partition("\n")[0].split()))
    said = said.removeprefix(f"{known[0]}: " if known else "").strip().rstrip(".")
    searched = [*(code.lower() for code in known), said.lower()]
    fix = next((text for pattern, text in _FIXES if any(re.search(pattern, one) for one in searched)), None)
    if leads_nowhere(error):
        fix = "{reason}; check config.json, and that the sign-in is for its tenant"
    fix = fix or _BY_STATUS.get(error.status_code or 0, "{reason}")
    words = {
        "reason": said,
        "log": _log(said),
        "wait": _wait(error),
        "role": _role(said),
        "credential": _BY_STATUS[403 if error.status_code == 403 else 401],
    }
    code = known[0] if known else str(error.reason or "")
    # The answer to "how did it end" is 200, whatever the end.
    status = error.status_code or 0
    return f"Azure answered {f'{status} ' if status >= 400 else ''}{code}: {fix.format(**words)}"


def codes(error: HttpResponseError) -> Iterator[str]:
    """The service's words for what is wrong, the narrowest first."""
    inner = getattr(error, "error", None)
    found = [*_codes(inner)] if inner is not None else []
    code = getattr(error, "error_code", None)
    # Storage has an enum of them, other services have text.
    found.append(str(getattr(code, "value", code) or ""))
    general = {"usererror", "badrequest", "badargument", "inferencingclientcallfailed", ""}
    yield from dict.fromkeys(one for one in found if one.lower() not in general)
    yield from dict.fromkeys(one for one in found if one and one.lower() in general)


def reason(error: HttpResponseError) -> str:
    """The service's sentence about it, without the wrapping."""
    inner = getattr(error, "error", None)
    for detail in getattr(inner, "details", None) or ():
        if text := _unwrapped(str(getattr(detail, "message", "") or "")):
            return text
    text = str(getattr(inner, "message", "") or "") or str(error.message or error)
    return _unwrapped(text) or text


def leads_nowhere(error: BaseException) -> bool:
    """Whether subscription, resource group or workspace is missing, not something in the workspace."""
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
    # A deployment's operation has no code, but begins its sentence with one.
    word = re.match(r"([A-Z][a-z]+(?:[A-Z][a-z]+)+): ", str(getattr(inner, "message", "") or ""))
    yield str(getattr(inner, "code", "") or "") or (word[1] if word else "")


def _unwrapped(text: str) -> str:
    """What stands in the JSON that one service puts into another's message."""
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
    return f", and Azure asks to wait {seconds} s" if seconds.isdigit() else ""


def _log(said: str) -> str:
    if found := _LOG.search(said):
        return f"; the log is in the workspace's storage, at {found[1].rstrip('.')}"
    return "; its build log says why"


def _role(said: str) -> str:
    found = _ACTION.search(said)
    what = f"the sign-in may not do {found[1]}" if found else "the sign-in may not do this"
    return f"{what}; ask the workspace's owner for the role {_ROLE}, which holds some minutes later"
