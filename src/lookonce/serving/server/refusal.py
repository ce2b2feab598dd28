"""A request that is not answered with detections, and why."""

from __future__ import annotations

from lookonce.errors import LookonceError


class Refusal(LookonceError):  # noqa: N818 - an answer, not a fault
    """What stands in the way of a request: an HTTP `status`, and a message that the client may see.

    `retry_after` in seconds goes with 503: the same request may succeed then.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after if retry_after is not None or status != 503 else 1
