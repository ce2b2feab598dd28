"""Open a report in a browser and assert that it needs no other file, for tests."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page


class Elements(HTMLParser):
    """Collects all start tags with their attributes, and the text outside of style."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._style = False
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def assert_self_contained(content: str) -> None:
    elements = Elements(content)
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "image", "use"}
    for tag, attributes in elements.found:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href", "srcset", "xlink:href", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#")), (tag, value)
    style = re.findall(r"<style>(.*?)</style>", content, re.DOTALL)
    assert len(style) == 1
    assert "url(" not in style[0]
    assert "@import" not in style[0]
    assert not re.search(r"https?://", content)


def visit(browser: Browser, path: Path, width: int, **options: Any) -> tuple[Page, list[str]]:
    """Open the page in a window of this width; return it with console messages and requests."""
    page = browser.new_context(viewport={"width": width, "height": 812}, **options).new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(f"dialog {dialog.message}"))
    page.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else messages.append(request.url),
    )
    page.goto(path.as_uri())
    return page, messages
