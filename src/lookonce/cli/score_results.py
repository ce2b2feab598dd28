"""Send, draw and show the images of `lookonce score`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lookonce.cli.drawn_copies import names_of, targets, write_drawn
from lookonce.io.parallel import parallel_map
from lookonce.serving.client.address import printable
from lookonce.serving.client.client import in_pixels
from lookonce.serving.client.failures import ImageFailedError, ServiceError

ImageResult = dict[str, Any]

# More images than this show a progress bar.
_FEW = 8
_WIDE = 400
_NOTHING = "nothing found"
_NUMBERS = ("score", "left", "top", "right", "bottom")
_LABEL, _SHORTEST = 20, 8


class Scorer(Protocol):
    """Returns detections of image files: a client of a service, or the results of a batch job."""

    def score(self, image: Path) -> dict[str, Any]:
        """Return a file's detections. Raises ServiceError or ImageFailedError."""

    def classes(self) -> list[str]:
        """Return the model's class names in order, empty if unknown."""


def send(
    client: Scorer, images: list[Path], at_once: int, output: str | None
) -> tuple[list[ImageResult], int]:
    """Send images, `at_once` at a time; return the results and the number of images that failed.

    Errors of single images are printed. An error of the service is printed if there are results already, and
    raised as ServiceError otherwise. Drawn copies are written to `output`.
    """
    names = names_of(images)
    copies = targets(images, Path(output)) if output else {}
    results: list[ImageResult] = []
    classes: list[str] | None = None
    failed = 0
    with _progress(len(images)) as (report, advance):
        for image, future in parallel_map(client.score, images, at_once):
            try:
                results.append(future.result() | {"filename": names[image]})
                if copies:
                    classes = client.classes() if classes is None else classes
                    _draw(image, results[-1], classes, copies[image])
            except ImageFailedError as error:
                failed += 1
                report(error)
            except ServiceError as error:
                if not results:
                    raise
                report(error)
                return results, len(images) - len(results)
            advance()
    return results, failed


def show(results: list[ImageResult], failed: int, seconds: float, output: str | None) -> None:
    """Print a row for each box, and a summary line."""
    console = _console()
    if results:
        console.print(_table(results, console.width if console.is_terminal else None))
    objects = sum(len(result["boxes"]) for result in results)
    drawn = f", drawn in {output}" if output and results else ""
    failures = f"; {_counted(failed, 'image')} failed" if failed else ""
    found = f"{_counted(len(results), 'image')}, {_counted(objects, 'object')}"
    console.print(
        f"{found} in {seconds:.2f} s{drawn}{failures}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def show_load(figures: dict[str, Any]) -> None:
    """Print the figures of `LoadResult.to_json`."""
    console = _console()
    images, times = figures["images"], figures["milliseconds"]
    console.print(
        f"{figures['uri']}: {_counted(figures['clients'], 'client')} for {figures['seconds']:.1f} s, "
        f"{_counted(images, 'image')} of {figures['bytes'] / images / 1000:,.0f} KB",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("requests/s", f"{figures['requests_per_second']:.1f}")
    if times["max"] is not None:
        table.add_row("milliseconds", "   ".join(f"{name} {value:.1f}" for name, value in times.items()))
    inside = figures["service_milliseconds"]
    if inside:
        stages = "   ".join(f"{stage} {value:.1f}" for stage, value in inside.items())
        table.add_row("in the service", f"{stages}   (medians)")
    outcomes = "   ".join(f"{outcome}: {number:,}" for outcome, number in figures["outcomes"].items())
    table.add_row("responses", outcomes)
    console.print(table, highlight=False)


def _table(results: list[ImageResult], width: int | None) -> Table:
    """Build the table, for a terminal of `width` columns; None: nothing is shortened, names are repeated."""
    labels = [found["label"] for result in results for found in result["boxes"]] or [_NOTHING]
    label_width = min(_LABEL, max(map(cell_len, labels)))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("image", no_wrap=True)
    table.add_column("class", no_wrap=True, overflow="ellipsis", min_width=label_width)
    for heading in _NUMBERS:
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    # Each column but the first, and both edges, have two spaces of padding.
    left = None if width is None else width - label_width - sum(len(name) + 3 for name in _NUMBERS) - 7
    for result in results:
        # As Text: a name may contain rich markup.
        name = Text(_shortened(printable(result["filename"]), left))
        if not result["boxes"]:
            table.add_row(name, Text(_NOTHING, style="dim"))
        for found in result["boxes"]:
            corners = [f"{value:.0f}" for value in in_pixels(result, found)]
            table.add_row(name, Text(found["label"]), f"{found['score']:.2f}", *corners)
            name = name if width is None else Text("")
    return table


def _shortened(name: str, width: int | None) -> str:
    """Keep the end of a name, which distinguishes files better than the beginning."""
    if width is None or cell_len(name) <= width:
        return name
    while name and cell_len(name) >= max(width, _SHORTEST):
        name = name[1:]
    return f"…{name}"


def _draw(image: Path, result: ImageResult, classes: list[str], target: Path) -> None:
    # Imported late: it loads OpenCV, and most runs draw nothing.
    from lookonce.core.detections import Detections
    from lookonce.inference.draw import draw
    from lookonce.io.images import ImageError, read_image

    try:
        pixels = read_image(image)
    except ImageError as error:
        raise ImageFailedError(f"{error} (detected, but not drawn)") from error
    write_drawn(draw(pixels, Detections.from_dict(result, classes)), target)


@contextmanager
def _progress(images: int) -> Iterator[tuple[Callable[[object], None], Callable[[], None]]]:
    """Yield functions that report an error and a finished image; show a bar for many images."""
    console = Console(stderr=True)

    def report(error: object) -> None:
        console.print(f"lookonce: {error}", highlight=False, markup=False, soft_wrap=True)

    if images <= _FEW or not console.is_terminal:
        yield report, lambda: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=images)
        yield report, lambda: progress.advance(task)


def _console() -> Console:
    """Return a console as wide as the terminal; without a terminal, wide enough to wrap nothing."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
