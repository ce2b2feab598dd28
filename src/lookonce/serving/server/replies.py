"""What a request gets: a reply as any server can send it, or a refusal that says why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from lookonce.errors import LookonceError


class Refusal(LookonceError):  # noqa: N818 - an answer, not a fault
    """What stands in the way of a request: an HTTP `status`, and a message that the client may see.

    `retry_after` in seconds goes with 503: the same request may succeed then.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after if retry_after is not None or status != 503 else 1


@dataclass(frozen=True)
class Reply:
    """An answer as any server can send it."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def refused(refusal: Refusal, request_id: str | None = None) -> Reply:
    """A refusal as every route answers it."""
    content = {"error": str(refusal)} | ({"request_id": request_id} if request_id else {})
    headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after else {}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Reply(refusal.status, as_json(content), headers=headers)


def too_large(limit: int) -> Refusal:
    """Of a body beyond `limit` bytes."""
    return Refusal(413, f"the body is larger than the {limit:,} bytes allowed. Send fewer or smaller images.")


def as_json(content: object) -> bytes:
    """Compact UTF-8."""
    # A lone surrogate in a file name can't be UTF-8; it is shown escaped.
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "backslashreplace")
