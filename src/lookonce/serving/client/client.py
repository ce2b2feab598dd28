"""A client of `/score`: an image's file in, the service's answer out, or the reason why there is none."""

from __future__ import annotations

import json
import math
import random
import time
from pathlib import Path
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader, ProtocolError, TimeoutError
from urllib3.util.retry import Retry

from lookonce.errors import LookonceError
from lookonce.serving.client.address import ScoringAddress, media_type, open_pool, printable
from lookonce.serving.client.failures import BUSY, Explainer, ImageFailedError, Reply, is_transient

_MOST_IMAGE_BYTES, _MOST_ANSWER_BYTES = 256 * 2**20, 64 * 2**20
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.25, 8.0
_CONNECT_SECONDS = 10.0
_CARD_SECONDS = 5.0
_CORNERS = ("topX", "topY", "bottomX", "bottomY")
# Azure's endpoints answer 424 for whatever the model's own server refused, and say here what that was.
_INNER_STATUS = "ms-azureml-model-error-statuscode"


class ScoringClient:
    """Sends images to the service at `address`; any thread may call it.

    `key` goes along as a bearer token, and nowhere else: redirects aren't followed. `key_name` is what
    messages call it. An image gets `timeout_seconds`, with up to `retries` further attempts and the waits
    between them when the service is busy (429, 503), not there, or drops the connection.
    """

    def __init__(
        self,
        address: ScoringAddress,
        key: str | None = None,
        key_name: str = "WEBSERVICE_KEY",
        deployment: str | None = None,
        timeout_seconds: float = 60.0,
        retries: int = 3,
        connections: int = 4,
    ) -> None:
        self.address = address
        self._explain = Explainer(address.shown, key_name, key is not None, timeout_seconds)
        self._timeout, self._retries = timeout_seconds, retries
        self._headers = {"Accept": "application/json", "User-Agent": "lookonce"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {_header_text(key, f'the key in {key_name}')}"
        if deployment is not None:
            self._headers["azureml-model-deployment"] = _header_text(deployment, "--deployment")
        self._pool = open_pool(address, connections)

    def score(self, image: Path) -> dict[str, Any]:
        """A file's answer, as `Detections.to_json` writes it. Raises ServiceError or ImageFailedError."""
        reply = self._persistent(read_file(image), image)
        try:
            return {"filename": image.name, **read_answer(reply.body)}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._explain.for_content(reply) from error

    def classes(self) -> list[str]:
        """The model's class names in their order; none where the service doesn't tell, as behind Azure."""
        until = time.monotonic() + min(self._timeout, _CARD_SECONDS)
        try:
            reply = self._request("GET", self.address.beside("model"), None, until)
            names = json.loads(reply.body)["classes"] if reply.status == 200 else []
            return [printable(str(name)) for name in names]
        except (HTTPError, OSError, ValueError, KeyError, TypeError, RecursionError):
            return []

    def post(self, content: bytes, until: float | None = None) -> Reply:
        """One attempt, up to `until` on the monotonic clock. Raises urllib3's HTTPError, or OSError."""
        if until is None:
            until = time.monotonic() + self._timeout
        return self._request("POST", self.address.url, content, until)

    def _persistent(self, content: bytes, image: Path) -> Reply:
        until = time.monotonic() + self._timeout
        for attempt in range(self._retries + 1):
            wait = _back_off(attempt)
            try:
                reply = self.post(content, until)
                if reply.status == 200:
                    return reply
                failure = self._explain.for_status(reply, image)
                if reply.status not in BUSY:
                    raise failure
                wait = max(wait, _retry_after(reply))
            except (HTTPError, OSError) as error:
                failure = self._explain.for_exception(error, image, attempt + 1)
                if not is_transient(error):
                    raise failure from error
            if attempt == self._retries or time.monotonic() + wait >= until:
                break
            time.sleep(wait)
        raise failure

    def _request(self, method: str, url: str, content: bytes | None, until: float) -> Reply:
        left = max(0.001, until - time.monotonic())
        response = self._pool.request(
            method,
            url,
            body=content,
            headers=self._headers | ({"Content-Type": media_type(content)} if content else {}),
            timeout=urllib3.Timeout(connect=min(left, _CONNECT_SECONDS), read=left),
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            body = _bounded(response, until)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        inner = response.headers.get(_INNER_STATUS, "")
        status = int(inner) if response.status == 424 and inner.isdecimal() else response.status
        return Reply(status, response.headers, body)


def read_file(image: Path) -> bytes:
    """An image's file as it is. Raises ImageFailedError."""
    try:
        size = image.stat().st_size
        if size > _MOST_IMAGE_BYTES:
            raise ImageFailedError(
                f"{image}: {size:,} bytes are more than is sent ({_MOST_IMAGE_BYTES:,}). Make it smaller."
            )
        content = image.read_bytes()
    except OSError as error:
        raise ImageFailedError(f"{image}: can't be read: {error.strerror or error}.") from error
    if not content:
        raise ImageFailedError(f"{image}: the file is empty. Copy or export it again.")
    return content


def read_answer(body: bytes) -> dict[str, Any]:
    """The one image of an answer: width, height and boxes, checked.

    Raises ValueError, KeyError, TypeError or RecursionError for anything else.
    """
    (one,) = json.loads(body)
    width, height = int(one["width"]), int(one["height"])
    if min(width, height) < 1:
        raise ValueError("an image without a size")
    boxes = [
        {
            "label": printable(str(box["label"])),
            "score": _finite(box["score"]),
            "box": {corner: _finite(box["box"][corner]) for corner in _CORNERS},
        }
        for box in one["boxes"]
    ]
    return {"width": width, "height": height, "boxes": boxes}


def in_pixels(answer: dict[str, Any], box: dict[str, Any]) -> list[float]:
    """[left, top, right, bottom] of one of the answer's boxes."""
    size = (answer["width"], answer["height"]) * 2
    return [box["box"][corner] * side for corner, side in zip(_CORNERS, size, strict=True)]


def _bounded(response: urllib3.BaseHTTPResponse, until: float) -> bytes:
    parts, size = [], 0
    # Piece by piece: a timeout holds for one piece, and a service could send one for ever.
    while part := response.read1(2**16):
        parts.append(part)
        size += len(part)
        if size > _MOST_ANSWER_BYTES:
            raise ProtocolError(f"an answer of more than {_MOST_ANSWER_BYTES:,} bytes")
        if time.monotonic() > until:
            raise TimeoutError("the answer takes too long")
    return b"".join(parts)


def _back_off(attempt: int) -> float:
    """Doubling, and a random part of that, so that many clients don't come back together."""
    return min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2**attempt) * random.uniform(0.5, 1)


def _retry_after(reply: Reply) -> float:
    """Seconds of Retry-After, a number or a date; a little more, at random."""
    try:
        seconds = Retry().parse_retry_after(reply.headers.get("retry-after", "0"))
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0
    return seconds + random.uniform(0, _FIRST_WAIT_SECONDS) if seconds else 0.0


def _finite(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise ValueError("not a number")
    return number


def _header_text(text: str, what: str) -> str:
    """Fit for a header, with its UTF-8 bytes one by one; never shown, for it may be a key."""
    text = text.strip()
    if not text or not text.isprintable():
        raise LookonceError(f"{what} is empty, or has signs that it can't have. Copy it again.")
    return text.encode().decode("latin-1")
