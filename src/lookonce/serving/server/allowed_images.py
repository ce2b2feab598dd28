"""Fetch images by URL, from an allow-list of origins only."""

from __future__ import annotations

import json
import threading
import time
from urllib.parse import urljoin

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import parse_url

from lookonce.errors import LookonceError
from lookonce.serving.server.replies import Refusal
from lookonce.serving.server.uploads import image_bytes

_MOST_REDIRECTS = 5
_MOST_TOKEN_BYTES = 64 * 1024
# Label Studio's access tokens are valid for five minutes.
_ACCESS_SECONDS = 60.0
_TIMEOUT = urllib3.Timeout(connect=5, read=20)
_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]


class FetchError(LookonceError):
    """An image cannot be fetched; the message gives the reason, without the URL's query."""


class AllowedImages:
    """Fetch the images that Label Studio's tasks name; thread-safe.

    Args:
        addresses: allowed origins; the first one is Label Studio's own, and the only one to receive the key.
        key: Label Studio's API key: a legacy token or a personal access token.
        max_bytes: the largest image, in bytes.
    """

    def __init__(self, addresses: tuple[str, ...], key: str | None, max_bytes: int) -> None:
        self._addresses, self._given_key = addresses, key
        self._setup_key: str | None = None
        self._most = max_bytes
        self._allowed = {origin_of(address) for address in addresses}
        self._pool = urllib3.PoolManager(maxsize=8, retries=False, timeout=_TIMEOUT)
        self._access, self._access_until = "", 0.0
        self._lock = threading.Lock()

    def use_key(self, key: str) -> None:
        """Use the key that Label Studio sent on setup, unless one was configured."""
        self._setup_key = key

    def fetch(self, address: str, seconds: float = 30) -> bytes:
        """Return an image file's bytes. Raises FetchError."""
        if address.startswith("data:"):
            try:
                return image_bytes(address, "the image")
            except Refusal as error:
                raise FetchError(str(error)) from error
        if not self._addresses:
            raise FetchError("no origin is allowed; start the service with --label-studio URL")
        until = time.monotonic() + seconds
        url = _joined(self._addresses[0].rstrip("/") + "/", address)
        for _ in range(_MOST_REDIRECTS):
            target = self._get(url, until)
            if isinstance(target, bytes):
                return target
            url = _joined(url, target)
        raise FetchError(f"more than {_MOST_REDIRECTS} redirects")

    def _get(self, url: str, until: float) -> bytes | str:
        """Return the content, or the target of a redirect."""
        shown = url.partition("?")[0][:200]
        origin = origin_of(url)
        if origin not in self._allowed:
            scheme, host, _ = origin
            target = f"{scheme}://{host}"[:200]
            raise FetchError(f"{target} is not among the origins that --label-studio allows")
        headers = self._authorization() if origin == origin_of(self._addresses[0]) else {}
        try:
            response = self._pool.request(
                "GET", url, headers=headers, redirect=False, preload_content=False, decode_content=True
            )
            try:
                if location := response.get_redirect_location():
                    return location
                if response.status != 200:
                    raise FetchError(f"{shown} returned {response.status}{_hint(response.status)}")
                return self._read(response, shown, until)
            finally:
                response.close()
        except HTTPError as error:
            raise FetchError(f"{shown} cannot be reached ({type(error).__name__})") from error

    def _read(self, response: urllib3.BaseHTTPResponse, shown: str, until: float) -> bytes:
        content = bytearray()
        for chunk in response.stream(2**16):
            content += chunk
            if len(content) > self._most:
                raise FetchError(f"{shown} is larger than {self._most:,} bytes")
            if time.monotonic() > until:
                raise FetchError(f"{shown} did not arrive in time")
        return bytes(content)

    def _authorization(self) -> dict[str, str]:
        key = self._given_key or self._setup_key
        if key is None:
            return {}
        # A personal access token is a JWT, exchanged for short-lived tokens; a legacy token is sent as it is.
        if key.count(".") != 2:
            return {"Authorization": f"Token {key}"}
        with self._lock:
            if time.monotonic() > self._access_until:
                self._access, self._access_until = self._exchange(key), time.monotonic() + _ACCESS_SECONDS
            return {"Authorization": f"Bearer {self._access}"}

    def _exchange(self, key: str) -> str:
        url = urljoin(self._addresses[0].rstrip("/") + "/", "api/token/refresh/")
        response = self._pool.request(
            "POST", url, json={"refresh": key}, redirect=False, preload_content=False
        )
        try:
            content = response.read(_MOST_TOKEN_BYTES)
            access = json.loads(content)["access"] if response.status == 200 else None
        except (ValueError, KeyError, TypeError):
            access = None
        finally:
            response.close()
        if not isinstance(access, str):
            raise FetchError(f"Label Studio rejects the key in LABEL_STUDIO_API_KEY ({response.status})")
        return access


def checked_origin(address: str) -> str:
    """Return `address` if it is a valid origin for AllowedImages. Raises LookonceError."""
    try:
        scheme, host, _ = origin_of(address)
    except FetchError:
        scheme, host = "", ""
    if scheme not in _PORTS or not host or "@" in address:
        raise LookonceError(
            f"--label-studio {address.rpartition('@')[2][:200]!r} is not a web address; expected "
            "something like http://localhost:8080, without user or password."
        )
    return address


def origin_of(address: str) -> Origin:
    """Return the scheme, host and port of a URL. Raises FetchError."""
    # The parser that also connects: two parsers may read a hostile URL differently.
    try:
        parts = parse_url(address)
    except LocationParseError as error:
        raise FetchError("its URL is malformed") from error
    scheme = parts.scheme or ""
    return scheme, parts.host or "", parts.port or _PORTS.get(scheme, 0)


def _joined(base: str, address: str) -> str:
    try:
        return urljoin(base, address)
    except ValueError as error:
        raise FetchError("its URL is malformed") from error


def _hint(status: int) -> str:
    return "; set LABEL_STUDIO_API_KEY to your key there" if status in (401, 403) else ""
