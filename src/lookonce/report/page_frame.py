"""The HTML page around the sections: one self-contained file for screen, phone and print."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from lookonce.report.markup import Markup, element, joined, text

# Same logo as on the service's page.
_LOGO = Markup(
    '<svg class="logo" viewBox="0 0 32 32" aria-hidden="true">'
    '<rect width="32" height="32" rx="7" fill="#1d4ed8"/>'
    '<path d="M6 12V8a2 2 0 0 1 2-2h4M20 6h4a2 2 0 0 1 2 2v4M26 20v4a2 2 0 0 1-2 2h-4M12 26H8'
    'a2 2 0 0 1-2-2v-4" fill="none" stroke="#fff" stroke-width="2.4" stroke-linecap="round"/>'
    '<circle cx="16" cy="16" r="5" fill="none" stroke="#fff" stroke-width="2.4"/>'
    '<circle cx="16" cy="16" r="1.6" fill="#fff"/></svg>'
)
# Block scripts and requests, as a second defence against HTML in class or file names.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

Parts = Sequence[tuple[str, Markup | None]]


def page(kind: str, title: Markup, plain_title: str, parts: Parts) -> Markup:
    """Return an HTML page.

    Args:
        kind: Kind of page, written above the title.
        title: Heading.
        plain_title: Title of the browser window.
        parts: Navigation label and section of each part; None is skipped.
    """
    shown = [(label, part) for label, part in parts if part is not None]
    links = [element("a", label, href=f"#{_key(part)}") for label, part in shown]
    style = files("lookonce.report").joinpath("page.css").read_text(encoding="utf-8")
    head = joined(
        [
            element("meta", charset="utf-8"),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{text(_POLICY)}">'),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", f"{plain_title} · lookonce"),
            Markup(f"<style>{style}</style>"),
        ]
    )
    header = element(
        "header",
        _LOGO,
        element("div", element("p", f"lookonce · {kind}", class_="kind"), element("h1", title)),
        class_="top",
    )
    body = element(
        "body",
        header,
        element("nav", *links, aria_label="Sections"),
        element("main", *(part for _, part in shown)),
    )
    document = element("html", element("head", head), body, lang="en")
    return Markup(f"<!doctype html>\n{document}\n")


def _key(part: Markup) -> str:
    """Return the id of a section."""
    return part.split('id="', 2)[1].partition('"')[0] if part.startswith("<section") else ""
