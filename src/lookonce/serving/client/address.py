"""The address of a service, parsed, and connections to it."""

from __future__ import annotations

import ipaddress
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit, urlunsplit

import urllib3

from lookonce.errors import LookonceError

DEFAULT_URI = "http://127.0.0.1:8080/score"
_SHOWN_LETTERS = 300
_SIGNATURES = (
    (b"\xff\xd8", "image/jpeg"),
    (b"\x89PNG", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
)


@dataclass(frozen=True)
class ScoringAddress:
    """The URL of a service's `/score`; `shown` omits the query, for messages."""

    url: str
    shown: str
    host: str
    scheme: str

    @classmethod
    def parse(cls, uri: str, query: Mapping[str, object] | None = None) -> ScoringAddress:
        """Parse an address, with or without http:// and /score. Raises LookonceError.

        `query` is appended to the address's own query; None values are omitted.
        """
        text = uri.strip()
        parts = _split(text if "://" in text else f"http://{text}", uri)
        path = parts.path.rstrip("/")
        if path.rpartition("/")[2] != "score":
            path += "/score"
        added = urlencode({name: value for name, value in (query or {}).items() if value is not None})
        combined = "&".join(filter(None, (parts.query, added)))
        return cls(
            urlunsplit((parts.scheme, parts.netloc, path, combined, "")),
            urlunsplit((parts.scheme, parts.netloc, path, "", "")),
            str(parts.hostname),
            parts.scheme,
        )

    def beside(self, name: str) -> str:
        """Return the URL of another route of the same service."""
        return urljoin(self.shown, name)

    @property
    def is_local(self) -> bool:
        """Whether the host is this machine."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def describe(target: str) -> str:
    """Describe a redirect's target without its credentials and query."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return "an unreadable address"
    netloc = parts.netloc.rpartition("@")[2]
    return printable(urlunsplit((parts.scheme, netloc, parts.path, "", ""))) or "an unnamed address"


def open_pool(address: ScoringAddress, connections: int) -> urllib3.PoolManager:
    """Open a connection pool, through HTTP_PROXY or HTTPS_PROXY unless the service is on this machine."""
    proxy = urllib.request.getproxies().get(address.scheme)
    if not proxy or address.is_local or urllib.request.proxy_bypass(address.host):
        return urllib3.PoolManager(num_pools=1, maxsize=connections, block=True)
    return urllib3.ProxyManager(
        proxy if "://" in proxy else f"http://{proxy}", num_pools=2, maxsize=connections, block=True
    )


def media_type(content: bytes) -> str:
    """Guess the media type from an image file's first bytes; application/octet-stream if unknown."""
    for start, kind in _SIGNATURES:
        if content.startswith(start):
            return kind
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return "application/octet-stream"


def printable(text: str) -> str:
    """Return untrusted text as one short line without control characters."""
    line = " ".join(
        "".join(sign if sign.isprintable() else " " for sign in text[: 2 * _SHOWN_LETTERS]).split()
    )
    return line if len(line) <= _SHOWN_LETTERS else f"{line[:_SHOWN_LETTERS]}…"


def _split(text: str, given: str) -> SplitResult:
    # The message does not repeat the address where it may contain a password.
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise LookonceError(
            f"the service's address is malformed ({error}); expected {DEFAULT_URI}."
        ) from error
    if parts.username is not None:
        raise LookonceError(
            "the service's address contains a user or a password. Leave them out; set a key in "
            "WEBSERVICE_KEY."
        )
    if parts.scheme not in ("http", "https") or not host or any(sign.isspace() for sign in text):
        raise LookonceError(
            f"{printable(given)!r} is not a service's address; expected something like {DEFAULT_URI}."
        )
    return parts
