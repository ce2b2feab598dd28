"""Charts as inline SVG, with colours that follow the page's light or dark scheme."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lookonce.core.colours import PALETTE, colour_of
from lookonce.report.markup import Markup, element, joined, note, swatch

# In SVG units; the drawing scales to the width of its column.
WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 48
# Dash patterns distinguish lines in black-and-white print and for colour-blind readers.
_DASHES = (None, "7 4", "2 4", "10 4 2 4")
# Palette indices for series other than classes: readable on light and dark backgrounds.
_SERIES = (5, 4, 2, 6, 0, 1)

Points = Sequence[tuple[float, float]]


def series_colour(index: int) -> str:
    """Return a CSS colour for a line, blended with the text colour for contrast in both schemes."""
    return _on_page(_SERIES[index % len(_SERIES)])


def class_colour(label: int) -> str:
    """Return the CSS line colour of a class, blended with the text colour for contrast."""
    return _on_page(label)


def swatch_colour(label: int) -> str:
    """Return the unblended CSS colour of a class, for filled areas."""
    return f"rgb{colour_of(label)}".replace(" ", "")


def _on_page(label: int) -> str:
    red, green, blue = PALETTE[label % len(PALETTE)]
    return f"color-mix(in oklab, rgb({red} {green} {blue}) 74%, var(--text))"


@dataclass(frozen=True)
class Axis:
    """One axis of a chart, from `low` to `high`, with marks at `ticks`."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def share(self, value: float) -> float:
        """Return the position of a value along the axis, 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear(label: str, low: float, high: float, most: int = 6, integers: bool = False) -> Axis:
    """Return a linear axis from `low` to a round number at or above `high`; `integers`: whole ticks only."""
    span = max(high - low, 1e-9 if not integers else 1)
    step = _round_step(span / (most - 1))
    if integers:
        step = max(1, math.ceil(step))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9) if integers else math.ceil(high / step - 1e-9)
    ticks = tuple(round(index * step, 10) for index in range(first, last + 1))
    return Axis(label, low, max(high, low + span, *ticks), ticks)


def unit(label: str) -> Axis:
    """Return a linear axis from 0 to 1."""
    return Axis(label, 0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1))


def logarithmic(label: str, low: float, high: float, most: int = 6) -> Axis:
    """Return a logarithmic axis for positive values."""
    low, high = low / 1.06, high * 1.06
    for steps in ((1, 2, 5), (1, 3), (1,)):
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = tuple(step * 10.0**decade for decade in decades for step in steps)
        ticks = tuple(tick for tick in ticks if low <= tick <= high)
        if len(ticks) <= most:
            break
    return Axis(label, low, high, ticks, log=True)


def epochs_axis(epochs: Sequence[float]) -> Axis:
    """Return an axis with ticks at whole epochs; a single epoch is centred."""
    low, high = min(epochs, default=1), max(epochs, default=1)
    return (
        linear("epoch", low, high, 7, integers=True)
        if high > low
        else Axis("epoch", low - 1, high + 1, (low,))
    )


class Chart:
    """A chart under construction: add marks, then call `figure`. Non-finite values are skipped."""

    def __init__(self, title: str, x: Axis, y: Axis, height: int = HEIGHT) -> None:
        self.title, self.x, self.y, self.height = title, x, y, height
        self._drawn: list[Markup] = []
        self._legend: list[Markup] = []

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a point in SVG units."""
        wide, high = WIDTH - LEFT - RIGHT, self.height - TOP - BOTTOM
        return LEFT + wide * self.x.share(x), TOP + high * (1 - self.y.share(y))

    def line(
        self, points: Points, colour: str, name: Markup | str | None, index: int = 0, width: float = 2
    ) -> None:
        """Draw a line with gaps at non-finite values; `index` selects the dashes, `name` the legend entry."""
        dash = _DASHES[index % len(_DASHES)]
        path, pen_up, isolated = [], True, []
        for position, (x, y) in enumerate(points):
            if not (math.isfinite(x) and math.isfinite(y)):
                pen_up = True
                continue
            left, top = self.place(x, y)
            path.append(f"{'M' if pen_up else 'L'}{left:.1f} {top:.1f}")
            ends = position + 1 == len(points) or not math.isfinite(points[position + 1][1])
            if pen_up and ends:
                isolated.append((x, y))
            pen_up = False
        style = f"stroke:{colour};stroke-width:{width}" + (f";stroke-dasharray:{dash}" if dash else "")
        self._drawn.append(element("path", d=" ".join(path), class_="line", style=style))
        self.dots(isolated if len(points) > 12 else points, colour, 3.5 if len(points) <= 12 else 3)
        if name is not None:
            self.key(name, colour, dash)

    def dots(self, points: Points, colour: str, size: float, opacity: float = 1) -> None:
        """Draw round dots as a single path."""
        places = [self.place(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        path = "".join(f"M{left:.1f} {top:.1f}h0" for left, top in places)
        style = f"stroke:{colour};stroke-width:{2 * size:g};stroke-opacity:{opacity:g}"
        self._drawn.append(element("path", d=path, class_="dots", style=style))

    def hints(self, hints: Iterable[tuple[float, float, str]]) -> None:
        """Add tooltips (x, y, text)."""
        for x, y, text in hints:
            if math.isfinite(x) and math.isfinite(y):
                left, top = self.place(x, y)
                circle = element("circle", element("title", text), cx=f"{left:.1f}", cy=f"{top:.1f}", r=7)
                self._drawn.append(element("g", circle, class_="hint"))

    def bars(self, bars: Iterable[tuple[float, float, float, float]], colour: str) -> None:
        """Draw rectangles (left, right, bottom, top) given in axis values."""
        for left, right, low, high in bars:
            x1, y1 = self.place(left, high)
            x2, y2 = self.place(right, low)
            self._drawn.append(
                element("rect", x=f"{x1:.1f}", y=f"{y1:.1f}", width=f"{max(x2 - x1, 0.3):.1f}",
                        height=f"{max(y2 - y1, 0):.1f}", style=f"fill:{colour}")
            )  # fmt: skip

    def mark(self, x: float, y: float, label: str) -> None:
        """Highlight a point and write a label beside it."""
        left, top = self.place(x, y)
        on_right = self.x.share(x) > 0.6
        above = self.y.share(y) < 0.86
        self._drawn.append(element("circle", cx=f"{left:.1f}", cy=f"{top:.1f}", r=5, class_="mark"))
        x_px, y_px = left + (-9 if on_right else 9), top + (-9 if above else 18)
        anchor = "end" if on_right else "start"
        self._drawn.append(
            element("text", label, x=f"{x_px:.1f}", y=f"{y_px:.1f}", class_="mark-label", text_anchor=anchor)
        )

    def cross(self, x: float, y: float, tooltip: str) -> None:
        """Draw a cross with a tooltip."""
        left, top = self.place(x, y)
        path = f"M{left - 6:.1f} {top - 6:.1f}l12 12m0-12l-12 12"
        self._drawn.append(element("path", d=path, class_="cross-back"))
        self._drawn.append(element("path", d=path, class_="cross"))
        self.hints([(x, y, tooltip)])

    def rule(self, start: tuple[float, float], end: tuple[float, float], name: str | None = None) -> None:
        """Draw a thin dashed line between two points."""
        (x1, y1), (x2, y2) = self.place(*start), self.place(*end)
        self._drawn.append(element("path", d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", class_="rule"))
        if name is not None:
            self.key(name, "var(--muted)", "4 4")

    def key(self, name: Markup | str, colour: str, dash: str | None = None, area: bool = False) -> None:
        """Add an entry to the legend."""
        if area:
            symbol = swatch(colour)
        else:
            style = f"stroke:{colour}" + (f";stroke-dasharray:{dash}" if dash else "")
            stroke = element("path", d="M0 5h26", class_="line", style=style)
            symbol = element("svg", stroke, class_="stroke", viewBox="0 0 26 10", aria_hidden="true")
        self._legend.append(element("li", symbol, element("span", name)))

    def figure(self, alt: str, small: str | None = None) -> Markup:
        """Return the chart with title and legend; `alt` describes it for screen readers."""
        drawing = element(
            "svg",
            *self._frame(),
            *self._drawn,
            viewBox=f"0 0 {WIDTH} {self.height}",
            class_="chart",
            role="img",
            aria_label=alt,
        )
        legend = element("ul", *self._legend, class_="legend") if self._legend else None
        return element(
            "figure",
            element("figcaption", self.title, element("span", f" · {self.y.label}", class_="axis")),
            drawing,
            legend,
            note(small),
        )

    def _frame(self) -> list[Markup]:
        right, bottom = WIDTH - RIGHT, self.height - BOTTOM
        frame = []
        for tick in self.y.ticks:
            _, top = self.place(self.x.low, tick)
            frame.append(element("path", d=f"M{LEFT} {top:.1f}H{right}", class_="grid"))
            frame.append(element("text", _tick(tick), x=LEFT - 7, y=f"{top + 4.5:.1f}", text_anchor="end"))
        for tick in self.x.ticks:
            left, _ = self.place(tick, self.y.low)
            frame.append(element("path", d=f"M{left:.1f} {bottom}v4", class_="edge"))
            frame.append(element("text", _tick(tick), x=f"{left:.1f}", y=bottom + 18, text_anchor="middle"))
        frame.append(element("path", d=f"M{LEFT} {bottom}H{right}", class_="edge"))
        middle = (LEFT + right) / 2
        frame.append(element("text", self.x.label, x=middle, y=self.height - 8, text_anchor="middle"))
        return [element("g", joined(frame), class_="frame", aria_hidden="true")]


def _tick(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _round_step(step: float) -> float:
    scale = 10.0 ** math.floor(math.log10(step))
    return next(factor * scale for factor in (1, 2, 2.5, 5, 10) if factor * scale >= step * 0.999)
