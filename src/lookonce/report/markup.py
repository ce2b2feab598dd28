"""HTML from Python: plain strings are escaped, so class and file names cannot inject markup."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Sequence

_MAX_NAME = 60
# Elements without a closing tag.
_VOID = {"img", "meta", "br", "col"}


class Markup(str):
    """HTML that is already escaped."""

    __slots__ = ()


Child = str | None


def text(value: str) -> Markup:
    """Escape text, replacing control characters and lone surrogates."""
    valid = value.encode("utf-8", "replace").decode("utf-8")
    shown = "".join(one if one in "\n\t" or unicodedata.category(one) != "Cc" else "\ufffd" for one in valid)
    return Markup(html.escape(shown))


def element(tag: str, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """Return `<tag attributes>children</tag>`; plain str children are escaped.

    In attribute names, a trailing underscore is dropped and other underscores become hyphens (`class_`,
    `stroke_width`). None and False omit the attribute; True writes it without a value.
    """
    parts = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.removesuffix("_").replace("_", "-")
        parts.append(name if value is True else f'{name}="{text(str(value))}"')
    start = f"<{' '.join(parts)}>"
    return Markup(start if tag in _VOID else f"{start}{joined(children)}</{tag}>")


def joined(children: Iterable[Child]) -> Markup:
    """Concatenate children, escaping plain strings and skipping None."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else text(child) for child in children if child is not None
        )
    )


def name(value: str) -> Markup:
    """Return a class, file or run name, shortened and isolated from the surrounding text direction."""
    return element("bdi", cut(value))


def cut(value: str, longest: int = _MAX_NAME) -> str:
    """Shorten text to at most `longest` characters, ending in an ellipsis."""
    return value if len(value) <= longest else f"{value[: longest - 1]}…"


def note(text: str | None) -> Markup | None:
    """Return a paragraph in small print, or None for no text."""
    return element("p", text, class_="note") if text else None


def swatch(colour: str) -> Markup:
    """Return a small square of a CSS colour, for legends and class names."""
    return element("span", class_="swatch", style=f"background:{colour}")


def table(
    caption: str,
    heads: Sequence[Child],
    rows: Iterable[Sequence[Child]],
    numbers: Sequence[int] = (),
    class_: str | None = None,
) -> Markup:
    """Return a table that scrolls horizontally if it is wider than the page.

    Args:
        caption: Description for screen readers.
        heads: Column headings.
        rows: Cells; the first cell of a row is its heading.
        numbers: Indices of the columns to align right.
        class_: CSS classes.
    """

    def kind(column: int) -> str | None:
        return "number" if column in numbers else None

    head = [element("th", one, scope="col", class_=kind(column)) for column, one in enumerate(heads)]
    body = []
    for row in rows:
        cells = [element("th", row[0], scope="row")]
        cells += [element("td", one, class_=kind(column)) for column, one in enumerate(row[1:], 1)]
        body.append(element("tr", *cells))
    content = element(
        "table",
        element("caption", caption, class_="visually-hidden"),
        element("thead", element("tr", *head)),
        element("tbody", *body),
        class_=class_,
    )
    return scrolling(content, caption)


def scrolling(inner: Markup, label: str) -> Markup:
    """Wrap content in a region that scrolls horizontally and is focusable by keyboard."""
    return element("div", inner, class_="scroll", role="region", aria_label=label, tabindex=0)


def facts(pairs: Iterable[tuple[str, Child]], class_: str = "facts") -> Markup:
    """Return a definition list of names and values, skipping empty values."""
    return element(
        "dl",
        *(element("div", element("dt", term), element("dd", value)) for term, value in pairs if value),
        class_=class_,
    )


def section(key: str, title: str, *children: Child, lead: Child = None) -> Markup:
    """Return a section of the page; `lead` explains how to read it."""
    return element(
        "section",
        element("h2", title, id=f"{key}-title"),
        element("p", lead, class_="lead") if lead else None,
        *children,
        id=key,
        class_="card",
        aria_labelledby=f"{key}-title",
    )
