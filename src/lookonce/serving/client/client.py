"""HTTP client of `/score`: send an image file, return its detections."""

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

_MOST_IMAGE_BYTES, _MOST_RESPONSE_BYTES = 256 * 2**20, 64 * 2**20
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.25, 8.0
_CONNECT_SECONDS = 10.0
_CARD_SECONDS = 5.0
_CORNERS = ("topX", "topY", "bottomX", "bottomY")
# Azure's endpoints return 424 for any error of the model's server, with the original status in this header.
_INNER_STATUS = "ms-azureml-model-error-statuscode"


class ScoringClient:
    """Send images to a service; thread-safe.

    Args:
        address: the service.
        key: sent as a bearer token to this address only: redirects are not followed.
        key_name: name of the key in messages.
        deployment: one deployment of an Azure endpoint.
        timeout_seconds: time limit of an image, including all attempts.
        retries: further attempts when the service is busy (429, 503), unreachable or drops the connection.
        connections: size of the connection pool.
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
        """Return a file's detections, as in `Detections.to_json`. Raises ServiceError or ImageFailedError."""
        reply = self._post_with_retries(read_file(image), image)
        try:
            return {"filename": image.name, **parse_response(reply.body)}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._explain.for_content(reply) from error

    def classes(self) -> list[str]:
        """Return the model's class names in order; empty if the service does not list them, as on Azure."""
        until = time.monotonic() + min(self._timeout, _CARD_SECONDS)
        try:
            reply = self._request("GET", self.address.beside("model"), None, until)
            names = json.loads(reply.body)["classes"] if reply.status == 200 else []
            return [printable(str(name)) for name in names]
        except (HTTPError, OSError, ValueError, KeyError, TypeError, RecursionError):
            return []

    def post(self, content: bytes, until: float | None = None) -> Reply:
        """Send one request, until `until` on the monotonic clock. Raises urllib3's HTTPError or OSError."""
        if until is None:
            until = time.monotonic() + self._timeout
        return self._request("POST", self.address.url, content, until)

    def _post_with_retries(self, content: bytes, image: Path) -> Reply:
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
            body = _read_limited(response, until)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        inner = response.headers.get(_INNER_STATUS, "")
        status = int(inner) if response.status == 424 and inner.isdecimal() else response.status
        return Reply(status, response.headers, body)


def read_file(image: Path) -> bytes:
    """Read an image file. Raises ImageFailedError."""
    try:
        size = image.stat().st_size
        if size > _MOST_IMAGE_BYTES:
            raise ImageFailedError(
                f"{image}: {size:,} bytes exceed the limit of {_MOST_IMAGE_BYTES:,}. Make the image smaller."
            )
        content = image.read_bytes()
    except OSError as error:
        raise ImageFailedError(f"{image}: cannot be read: {error.strerror or error}.") from error
    if not content:
        raise ImageFailedError(f"{image}: the file is empty. Copy or export it again.")
    return content


def parse_response(body: bytes) -> dict[str, Any]:
    """Parse and validate the response for one image: width, height and boxes.

    Raises ValueError, KeyError, TypeError or RecursionError for any other content.
    """
    (content,) = json.loads(body)
    width, height = int(content["width"]), int(content["height"])
    if min(width, height) < 1:
        raise ValueError("an image without a size")
    boxes = [
        {
            "label": printable(str(box["label"])),
            "score": _finite(box["score"]),
            "box": {corner: _finite(box["box"][corner]) for corner in _CORNERS},
        }
        for box in content["boxes"]
    ]
    return {"width": width, "height": height, "boxes": boxes}


def in_pixels(image: dict[str, Any], box: dict[str, Any]) -> list[float]:
    """Convert one of an image's boxes to [left, top, right, bottom] in pixels."""
    size = (image["width"], image["height"]) * 2
    return [box["box"][corner] * side for corner, side in zip(_CORNERS, size, strict=True)]


def _read_limited(response: urllib3.BaseHTTPResponse, until: float) -> bytes:
    parts, size = [], 0
    # In chunks: a timeout applies to each read, and a service could keep sending.
    while part := response.read1(2**16):
        parts.append(part)
        size += len(part)
        if size > _MOST_RESPONSE_BYTES:
            raise ProtocolError(f"a response of more than {_MOST_RESPONSE_BYTES:,} bytes")
        if time.monotonic() > until:
            raise TimeoutError("the response takes too long")
    return b"".join(parts)


def _back_off(attempt: int) -> float:
    """Return exponential backoff with jitter, so that clients do not retry in step."""
    return min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2**attempt) * random.uniform(0.5, 1)


def _retry_after(reply: Reply) -> float:
    """Parse Retry-After (seconds or a date), with jitter added; 0 if absent."""
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
    """Encode text for a header as UTF-8 bytes; errors do not show it, as it may be a key."""
    text = text.strip()
    if not text or not text.isprintable():
        raise LookonceError(f"{what} is empty or has unprintable characters. Copy it again.")
    return text.encode().decode("latin-1")
