"""Errors of the client: HTTP statuses and network failures as messages with a fix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from urllib3.exceptions import (
    ConnectTimeoutError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    SSLError,
    TimeoutError,
)

from lookonce.errors import LookonceError
from lookonce.serving.client.address import describe, printable

BUSY = (429, 503)


class ServiceError(LookonceError):
    """The service is unusable or the address is wrong; other images would fail as well."""


class ImageFailedError(LookonceError):
    """This image failed; others may succeed."""


@dataclass(frozen=True)
class Reply:
    """One HTTP response; `status` is the service's own, unwrapped from an Azure endpoint's."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Explainer:
    """Explains failures, given how the service was addressed: URL, name of the key, whether it was set."""

    shown: str
    key_name: str
    has_key: bool
    timeout_seconds: float

    def for_status(self, reply: Reply, image: Path) -> LookonceError:
        """Explain a status other than 200."""
        status, reason = reply.status, _service_message(reply)
        if status in (401, 403) and not self.has_key:
            return ServiceError(
                f"{self.shown} requires a key ({status}). Set {self.key_name}, or name another variable with "
                "--key-env."
            )
        if status in (401, 403):
            return ServiceError(
                f"{self.shown} rejects the key in {self.key_name} ({status}). Set it to this "
                "service's current key."
            )
        if 300 <= status < 400:
            return ServiceError(
                f"{self.shown} redirects to {describe(reply.headers.get('location', ''))}. Redirects are not "
                "followed; if that is the service, pass it as --uri or SCORING_URI."
            )
        if status in (404, 405):
            return ServiceError(
                f"{self.shown} is not a service's /score ({status}{reason}). Check --uri or SCORING_URI: "
                "http://HOST:8080 for `lookonce serve`, the endpoint's scoring URI for Azure ML."
            )
        if status in BUSY:
            return ImageFailedError(
                f"{image}: the service is busy ({status}{reason}). Try again later, or raise --retries "
                "and --timeout."
            )
        return ImageFailedError(f"{image}: the service returned {status}{reason}.")

    def for_content(self, reply: Reply) -> ServiceError:
        """Explain a 200 without detections."""
        kind = printable(reply.headers.get("content-type", "of no type"))
        return ServiceError(
            f"{self.shown} did not return detections ({kind}). Check --uri or SCORING_URI: expected the "
            "address of a service's /score, not of a page."
        )

    def for_exception(self, error: Exception, image: Path, attempts: int) -> LookonceError:
        """Explain a failed exchange; `error` is urllib3's or the system's."""
        tries = f", {attempts} attempts" if attempts > 1 else ""
        reason = printable(str(error.__cause__ or error)).rstrip(".")
        if isinstance(error, SSLError) and "WRONG_VERSION" in reason.upper():
            return ServiceError(f"{self.shown} does not use TLS. Use http:// instead of https://.")
        if isinstance(error, SSLError):
            return ServiceError(
                f"{self.shown}: no secure connection ({reason}). Check the host name; for a private "
                "certificate authority, set SSL_CERT_FILE to its certificate."
            )
        if isinstance(error, NameResolutionError):
            return ServiceError(f"{self.shown}: no such host. Check --uri or SCORING_URI, and the network.")
        if isinstance(error, ProxyError):
            return ServiceError(
                f"{self.shown}: the proxy does not respond ({reason}). Check HTTPS_PROXY, HTTP_PROXY "
                "and NO_PROXY."
            )
        if isinstance(error, NewConnectionError | ConnectTimeoutError):
            return ServiceError(
                f"nothing responds at {self.shown} ({_plainly(error)}{tries}). Start the service: "
                "lookonce serve MODEL. Or choose another with --uri or SCORING_URI."
            )
        if isinstance(error, TimeoutError):
            return ImageFailedError(
                f"{image}: no response from {self.shown} in {self.timeout_seconds:g} s. Try again, or raise "
                "--timeout."
            )
        return ImageFailedError(f"{image}: {self.shown} dropped the connection ({reason}{tries}). Try again.")


def is_transient(error: Exception) -> bool:
    """Return whether another attempt may succeed; timeouts are not repeated."""
    if isinstance(error, SSLError | NameResolutionError | ProxyError):
        return False
    return isinstance(error, NewConnectionError | ConnectTimeoutError | ProtocolError | ConnectionError)


def _service_message(reply: Reply) -> str:
    """Return the service's own error message, in any known form, or an empty string."""
    try:
        content = json.loads(reply.body)
        error = content.get("error", content.get("message", ""))
        text = error.get("message", "") if isinstance(error, dict) else error
    except (ValueError, AttributeError, RecursionError):
        return ""
    text = printable(str(text)).rstrip(". ")
    return f": {text}" if text else ""


def _plainly(error: Exception) -> str:
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return "no connection in time"
    return printable(str(getattr(error.__cause__, "strerror", None) or error)).lower()
