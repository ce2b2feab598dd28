"""Why an image has no answer: statuses and broken exchanges as messages with their fix."""

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
    """The service can't be used as it is or as it was addressed; another image would fare no better."""


class ImageFailedError(LookonceError):
    """This image got no answer; others may."""


@dataclass(frozen=True)
class Reply:
    """One HTTP answer; `status` is the service's own, also from behind an endpoint that wraps it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Explainer:
    """Knows how the service was addressed: its address, the variable of its key, and whether that was set."""

    shown: str
    key_name: str
    has_key: bool
    timeout_seconds: float

    def for_status(self, reply: Reply, image: Path) -> LookonceError:
        """What an answer other than 200 means."""
        status, said = reply.status, _service_message(reply)
        if status in (401, 403) and not self.has_key:
            return ServiceError(
                f"{self.shown} wants a key ({status}). Set {self.key_name} to it; "
                "--key-env names another variable."
            )
        if status in (401, 403):
            return ServiceError(
                f"{self.shown} refuses the key in {self.key_name} ({status}). Set it to this service's key; "
                "it may have been renewed."
            )
        if 300 <= status < 400:
            return ServiceError(
                f"{self.shown} sends its visitors on to {describe(reply.headers.get('location', ''))}. "
                "Nothing was sent there; if that is the service, give it as --uri or SCORING_URI."
            )
        if status in (404, 405):
            return ServiceError(
                f"{self.shown} is not a service's /score ({status}{said}). Check --uri or SCORING_URI: of "
                "`lookonce serve` it is http://HOST:8080, of Azure ML the endpoint's scoring URI."
            )
        if status in BUSY:
            return ImageFailedError(
                f"{image}: the service is busy ({status}{said}). Try again later, or allow more --retries "
                "and --timeout."
            )
        return ImageFailedError(f"{image}: the service answered {status}{said}.")

    def for_content(self, reply: Reply) -> ServiceError:
        """What a 200 means that holds something else than detections."""
        kind = printable(reply.headers.get("content-type", "of no type"))
        return ServiceError(
            f"{self.shown} answered, but not with detections ({kind}). Check --uri or SCORING_URI: expected "
            "is the address of a service's /score, not of a page."
        )

    def for_exception(self, error: Exception, image: Path, attempts: int) -> LookonceError:
        """What an exchange without an answer means; `error` is urllib3's or the system's."""
        tried = f", {attempts} attempts" if attempts > 1 else ""
        reason = printable(str(error.__cause__ or error)).rstrip(".")
        if isinstance(error, SSLError) and "WRONG_VERSION" in reason.upper():
            return ServiceError(f"{self.shown} doesn't speak TLS. Write http:// in place of https://.")
        if isinstance(error, SSLError):
            return ServiceError(
                f"{self.shown}: no safe connection ({reason}). Check the host's name; where an organisation "
                "signs certificates itself, name its authority's file in SSL_CERT_FILE."
            )
        if isinstance(error, NameResolutionError):
            return ServiceError(f"{self.shown}: no such host. Check --uri or SCORING_URI, and the network.")
        if isinstance(error, ProxyError):
            return ServiceError(
                f"{self.shown}: the proxy doesn't answer ({reason}). Check HTTPS_PROXY, HTTP_PROXY "
                "and NO_PROXY."
            )
        if isinstance(error, NewConnectionError | ConnectTimeoutError):
            return ServiceError(
                f"nobody answers at {self.shown} ({_plainly(error)}{tried}). Start the service there: "
                "lookonce serve MODEL. Or name another: --uri, SCORING_URI."
            )
        if isinstance(error, TimeoutError):
            return ImageFailedError(
                f"{image}: no answer from {self.shown} in {self.timeout_seconds:g} s. Try again, or raise "
                "--timeout."
            )
        return ImageFailedError(f"{image}: {self.shown} broke off ({reason}{tried}). Try again.")


def is_transient(error: Exception) -> bool:
    """Whether a further attempt may do better; one that took all the time isn't repeated."""
    if isinstance(error, SSLError | NameResolutionError | ProxyError):
        return False
    return isinstance(error, NewConnectionError | ConnectTimeoutError | ProtocolError | ConnectionError)


def _service_message(reply: Reply) -> str:
    """The service's own words, in any of the forms that they come in, or nothing."""
    try:
        content = json.loads(reply.body)
        told = content.get("error", content.get("message", ""))
        text = told.get("message", "") if isinstance(told, dict) else told
    except (ValueError, AttributeError, RecursionError):
        return ""
    text = printable(str(text)).rstrip(". ")
    return f": {text}" if text else ""


def _plainly(error: Exception) -> str:
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return "no connection in time"
    return printable(str(getattr(error.__cause__, "strerror", None) or error)).lower()
