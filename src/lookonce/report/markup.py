"""HTML from Python: text is escaped unless it was made here, so no class or file name can break out."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Sequence

_LONGEST_NAME = 60
# Elements without an end.
_VOID = {"img", "meta", "br", "col"}


class Markup(str):
    """HTML that is already escaped."""

    __slots__ = ()


Child = str | None


def text(value: str) -> Markup:
    """Escaped, and without what no page may hold: control characters, halves of a surrogate pair."""
    whole = value.encode("utf-8", "replace").decode("utf-8")
    shown = "".join(one if one in "\n\t" or unicodedata.category(one) != "Cc" else "\ufffd" for one in whole)
    return Markup(html.escape(shown))


def element(tag: str, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """`<tag attributes>children</tag>`; a plain str child is text.

    In an attribute's name one trailing underscore is dropped and others become hyphens (`class_`,
    `stroke_width`); None and False leave it out, True gives it no value.
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
    """All of them in a row."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else text(child) for child in children if child is not None
        )
    )


def name(value: str) -> Markup:
    """A class's, file's or run's name as it was given: cut when endless, on its own whatever its script."""
    return element("bdi", cut(value))


def cut(value: str, longest: int = _LONGEST_NAME) -> str:
    """The beginning of what would be endless."""
    return value if len(value) <= longest else f"{value[: longest - 1]}…"


def note(said: str | None) -> Markup | None:
    """Small print under something; nothing for nothing."""
    return element("p", said, class_="note") if said else None


def swatch(colour: str) -> Markup:
    """A small area of a colour in CSS, before what it stands for."""
    return element("span", class_="swatch", style=f"background:{colour}")


def table(
    caption: str,
    heads: Sequence[Child],
    rows: Iterable[Sequence[Child]],
    numbers: Sequence[int] = (),
    class_: str | None = None,
) -> Markup:
    """A table whose first column names its rows; the columns `numbers` are aligned right.

    It scrolls by itself where it is wider than the page; `caption` is for those who hear the page.
    """

    def kind(column: int) -> str | None:
        return "number" if column in numbers else None

    head = [element("th", one, scope="col", class_=kind(column)) for column, one in enumerate(heads)]
    body = []
    for row in rows:
        cells = [element("th", row[0], scope="row")]
        cells += [element("td", one, class_=kind(column)) for column, one in enumerate(row[1:], 1)]
        body.append(element("tr", *cells))
    whole = element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", element("tr", *head)),
        element("tbody", *body),
        class_=class_,
    )
    return scrolling(whole, caption)


def scrolling(inner: Markup, label: str) -> Markup:
    """A part that may be wider than the page, reachable by keyboard."""
    return element("div", inner, class_="scroll", role="region", aria_label=label, tabindex=0)


def facts(pairs: Iterable[tuple[str, Child]], class_: str = "facts") -> Markup:
    """Names and values, as a list of definitions."""
    return element(
        "dl",
        *(element("div", element("dt", term), element("dd", value)) for term, value in pairs if value),
        class_=class_,
    )


def section(key: str, title: str, *children: Child, lead: Child = None) -> Markup:
    """One part of the page, with its heading and a sentence on how to read it."""
    return element(
        "section",
        element("h2", title, id=f"{key}-title"),
        element("p", lead, class_="lead") if lead else None,
        *children,
        id=key,
        class_="card",
        aria_labelledby=f"{key}-title",
    )
