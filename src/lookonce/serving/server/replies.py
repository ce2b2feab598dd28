"""Replies: what a server sends back, and refusals that become error replies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from lookonce.errors import LookonceError


class Refusal(LookonceError):  # noqa: N818 - a reply, not a fault
    """A request is refused with an HTTP `status` and a message for the client.

    `retry_after`, in seconds, is sent with 503: the same request may succeed then.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after if retry_after is not None or status != 503 else 1


@dataclass(frozen=True)
class Reply:
    """A response independent of the web framework."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def error_reply(refusal: Refusal, request_id: str | None = None) -> Reply:
    """Convert a refusal to the error reply of every route."""
    content = {"error": str(refusal)} | ({"request_id": request_id} if request_id else {})
    headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after else {}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Reply(refusal.status, as_json(content), headers=headers)


def too_large(limit: int) -> Refusal:
    """Return the refusal of a body of more than `limit` bytes."""
    return Refusal(413, f"the body is larger than the {limit:,} bytes allowed. Send fewer or smaller images.")


def as_json(content: object) -> bytes:
    """Encode as compact UTF-8 JSON."""
    # A lone surrogate in a file name has no UTF-8 form; it is escaped.
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "backslashreplace")
