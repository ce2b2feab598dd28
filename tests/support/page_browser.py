"""Chromium on the service's page: its requests, console messages and content."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from requirements import missing

_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
_WAIT_MS = 15_000
# Records violations of the Content-Security-Policy from the start.
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser with a camera that sends a test image; skip the test without Chromium."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        missing("Chromium is not installed")
    expect.set_options(timeout=_WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *_CAMERA])
        yield browser
        browser.close()


class Visit:
    """One visit of the page in its own browser context; leaving the block checks what must always hold.

    No script failed, the console shows nothing but responses of the statuses `expected`, no request went to
    another origin, no policy was violated.
    """

    def __init__(self, browser: Browser, url: str, expected: tuple[int, ...] = (), **options: Any) -> None:
        self.url, self._expected = url.rstrip("/") + "/", expected
        self.context = browser.new_context(
            accept_downloads=True, permissions=["camera", "clipboard-read", "clipboard-write"], **options
        )
        self.context.set_default_timeout(_WAIT_MS)
        self.context.add_init_script(_WATCH)
        self.page: Page = self.context.new_page()
        self.scored: list[str] = []
        self.most_at_once = self._at_once = 0
        self._foreign: list[str] = []
        self._console: list[str] = []
        self.page.on("console", lambda message: self._console.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self._console.append(f"pageerror: {error}"))
        self.page.on("request", self._on_request)
        for event in ("requestfinished", "requestfailed"):
            self.page.on(event, self._on_finished)  # type: ignore[call-overload]

    def _on_request(self, request: Any) -> None:
        target, own = urlsplit(request.url), urlsplit(self.url)
        if target.scheme in ("http", "https", "ws") and target.netloc != own.netloc:
            self._foreign.append(request.url)
        if target.path.endswith("/score"):
            self.scored.append(request.url)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)

    def _on_finished(self, request: Any) -> None:
        self._at_once -= urlsplit(request.url).path.endswith("/score")

    def open(self) -> Visit:
        self.page.goto(self.url)
        return self

    def ready(self) -> Visit:
        expect(self.page.locator("#light")).to_have_attribute("data-state", "ready")
        return self

    def pick(self, *files: Path | dict[str, Any]) -> Visit:
        """Choose files and wait for all results."""
        there = self.thumbnails.count()
        self.page.set_input_files("#files", list(files))  # type: ignore[arg-type]
        return self.finished(there + len(files))

    def finished(self, count: int) -> Visit:
        expect(self.page.locator(".thumbnail:is([data-status=done], [data-status=failed])")).to_have_count(
            count
        )
        return self

    @property
    def thumbnails(self) -> Locator:
        return self.page.locator(".thumbnail")

    @property
    def rows(self) -> Locator:
        return self.page.locator("#rows tr:not([hidden])")

    def table(self) -> list[list[str]]:
        """The text of each shown row's cells."""
        return [row.locator("td").all_inner_texts() for row in self.rows.all()]

    def slide(self, threshold: float) -> None:
        """Move the confidence slider."""
        self.page.locator("#threshold").fill(f"{threshold:.2f}")

    def colour_at(self, canvas: str, x: float, y: float) -> list[int]:
        """Return the RGBA value of a canvas at fractions of its width and height, after the next frames."""
        return self.page.evaluate(
            """async ([id, x, y]) => {
              for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
              const canvas = document.getElementById(id);
              // From a copy: reading the page's own canvas again and again makes Chromium complain.
              const copy = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
              const pen = copy.getContext("2d");
              pen.drawImage(canvas, -Math.round(x * canvas.width), -Math.round(y * canvas.height));
              return [...pen.getImageData(0, 0, 1, 1).data];
            }""",
            [canvas, x, y],
        )

    def saved(self, button: str) -> tuple[str, bytes]:
        """Return the name and content of the download that a button starts."""
        with self.page.expect_download() as waiting:
            self.page.click(button)
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()

    def overflow_px(self) -> int:
        """Return by how much the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")

    def __enter__(self) -> Visit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        violations = self.page.evaluate("window.violations") if kind is None else []
        self.context.close()
        if kind is not None:
            return
        statuses = "|".join(map(str, self._expected)) or "none"
        allowed = re.compile(
            rf"error: Failed to load resource: .*(status of ({statuses}) |ERR_INTERNET_DISCONNECTED)"
        )
        complaints = [line for line in self._console if not allowed.match(line)]
        assert complaints == []
        assert self._foreign == []
        assert violations == []


class Proxy(ThreadingHTTPServer):
    """A reverse proxy that serves a service below /some/where/, with `busy` requests refused first."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Forwarding)
        self.target, self.busy = target, 0
        self.refused_at: list[float] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/some/where/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Forwarding(BaseHTTPRequestHandler):
    server: Proxy

    def log_message(self, *_: Any) -> None:
        pass

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, prefix, path = self.path.partition("/some/where/")
        if self.server.busy and path.partition("?")[0] in ("model", "score"):
            self.server.busy -= 1
            content = b'{"error": "the model is still loading; try again in a second."}'
            return self._send(503, {"Retry-After": "1", "Content-Type": "application/json"}, content)
        if not prefix:
            return self._send(404, {}, b"outside")
        kept = {
            name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")
        }
        response = httpx.request(
            self.command, f"{self.server.target}/{path}", headers=kept, content=body, timeout=30
        )
        dropped = ("content-length", "connection", "content-encoding", "transfer-encoding")
        headers = {name: value for name, value in response.headers.items() if name not in dropped}
        self._send(response.status_code, headers, response.content)

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _forward  # noqa: N815


# The contrast of all visible text with its background, by WCAG 2.
CONTRAST = """
() => {
  const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
  const pen = canvas.getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, ground) => top.slice(0, 3).map((value, i) => value * top[3] + ground[i] * (1 - top[3]));
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (colour) => {
    const linear = colour.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    if (element.closest(".sr-only, .skip, noscript, option, svg")) continue;
    const style = getComputedStyle(element), below = ground(element);
    const [one, two] = [light(over(rgba(style.color), below)), light(below)];
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    found.push({text: text.slice(0, 40), contrast, enough: contrast >= (large ? 3 : 4.5)});
  }
  return found;
}
"""
