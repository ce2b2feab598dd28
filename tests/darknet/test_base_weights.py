import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lookonce.darknet import floats_of, parse_cfg, published
from lookonce.darknet.base_weights import KNOWN, DownloadError, Known, fetch

CONTENT = bytes(range(256)) * 2000
SMALL = Known("small.weights", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@dataclass
class Server:
    """Behaviour of the local server, and the requests it received."""

    url: str = ""
    content: bytes = CONTENT
    cut_after: int | None = None
    cuts: int = 0
    ranges: bool = True
    status: int = 200
    requested: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    plan = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested = self.headers.get("Range")
            plan.requested.append(requested)
            if plan.status == 0:  # hang up without an answer
                self.close_connection = True
                return
            if plan.status != 200:
                self.send_error(plan.status)
                return
            start = int(requested.split("=")[1].rstrip("-")) if requested and plan.ranges else 0
            body = plan.content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(plan.content) - 1}/{len(plan.content)}"
                )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if plan.cut_after is not None and plan.cuts > 0:
                plan.cuts -= 1
                body = body[: plan.cut_after]
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    plan.url = f"http://127.0.0.1:{http.server_port}/files/"
    yield plan
    http.shutdown()
    thread.join()
    http.server_close()


def get(server: Server, folder: Path, known: Known = SMALL, **options: object) -> Path:
    return fetch("small", folder, server.url, registry={"small": known}, pause_seconds=0, **options)  # type: ignore[arg-type]


def test_download_is_verified_and_renamed(server: Server, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    path = get(server, tmp_path / "new", progress=lambda done, size: calls.append((done, size)))
    assert path == tmp_path / "new" / "small.weights"
    assert path.read_bytes() == CONTENT
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert [file.name for file in path.parent.iterdir()] == ["small.weights"]


def test_existing_file_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path)
    get(server, tmp_path)
    assert server.requested == [None]


def test_broken_connections_are_resumed(server: Server, tmp_path: Path) -> None:
    server.cut_after, server.cuts = 100_000, 3
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.requested == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]


def test_partial_file_of_an_earlier_run_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "small.weights.part").write_bytes(CONTENT[:1234])
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.requested == ["bytes=1234-"]


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "small.weights.part").write_bytes(CONTENT[:1234])
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_overlong_partial_file_is_discarded(server: Server, tmp_path: Path) -> None:
    (tmp_path / "small.weights.part").write_bytes(CONTENT + b"more")
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_wrong_content_is_never_renamed(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(DownloadError, match=r"small\.weights: has SHA-256 .*expected"):
        get(server, tmp_path)
    assert not list(tmp_path.iterdir())


def test_wrong_size_is_refused_before_downloading(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>moved</html>"
    with pytest.raises(DownloadError, match=r"offers 18 bytes, expected 512,000.*error page"):
        get(server, tmp_path)


def test_missing_file_fails_at_once(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DownloadError, match=r"404 Not Found.*mirror"):
        get(server, tmp_path)
    assert len(server.requested) == 1


def test_partial_file_is_kept_when_the_server_stays_down(server: Server, tmp_path: Path) -> None:
    (tmp_path / "small.weights.part").write_bytes(CONTENT[:1234])
    server.status = 503
    with pytest.raises(DownloadError, match=r"503 .*5 times in a row. 1,234 of 512,000 bytes"):
        get(server, tmp_path)
    assert (tmp_path / "small.weights.part").read_bytes() == CONTENT[:1234]


def test_disconnects_are_reported_as_network_errors(server: Server, tmp_path: Path) -> None:
    server.status = 0
    with pytest.raises(DownloadError, match=r"no connection \(Remote end closed.*5 times in a row"):
        get(server, tmp_path)


def test_unreachable_server_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="no connection"):
        get(Server(url="http://127.0.0.1:9"), tmp_path)
    with pytest.raises(DownloadError, match="URL"):
        get(Server(url="nonsense"), tmp_path)


def test_wrong_existing_file_is_left_unchanged(server: Server, tmp_path: Path) -> None:
    (tmp_path / "small.weights").write_bytes(b"mine")
    with pytest.raises(DownloadError, match=r"already exists.* 4 bytes"):
        get(server, tmp_path)
    assert (tmp_path / "small.weights").read_bytes() == b"mine"


def test_without_a_checksum_the_floats_are_checked(server: Server, tmp_path: Path) -> None:
    cfg = parse_cfg("[net]\nwidth=32\nheight=32\n[convolutional]\nfilters=2\n", "two.cfg")
    known = replace(SMALL, sha256=None, cfg=lambda: cfg)
    with pytest.raises(DownloadError, match="its floats are not those of the model"):
        get(server, tmp_path, known)
    server.content = bytes(4) + b"\2" + bytes(15 + 4 * floats_of(cfg))
    assert get(server, tmp_path, replace(known, size=len(server.content))).exists()


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"yolov9.*yolov3, yolov3-tiny"):
        fetch("yolov9", tmp_path)


def test_known_sizes_match_the_networks() -> None:
    assert KNOWN["yolov3"].size == 20 + 4 * floats_of(published("yolov3"))
    assert KNOWN["yolov3-tiny"].size == 20 + 4 * floats_of(published("yolov3-tiny"))
    assert KNOWN["darknet53"].size == 20 + 4 * floats_of(published("yolov3"), 74)
