"""`lookonce score`'s images sent and drawn, and its results shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

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

if TYPE_CHECKING:
    from lookonce.core.detections import Detections

ImageResult = dict[str, Any]

# More images than these show how far they are.
_FEW = 8
_WIDE = 400
_NOTHING = "nothing found"
_NUMBERS = ("score", "left", "top", "right", "bottom")
_LABEL, _SHORTEST = 20, 8


class Scorer(Protocol):
    """Who results images: a client of a service, or a job's results."""

    def score(self, image: Path) -> dict[str, Any]:
        """A file's result. Raises ServiceError or ImageFailedError."""

    def classes(self) -> list[str]:
        """The model's class names in their order; none where they aren't told."""


def send(
    client: Scorer, images: list[Path], at_once: int, output: str | None
) -> tuple[list[ImageResult], int]:
    """The results, and how many images have none; drawn copies go to `output`.

    What goes wrong with one image is printed, and so is a service that stops working after some results;
    Raises ServiceError when it gave none.
    """
    names = names_of(images)
    copies = targets(images, Path(output)) if output else {}
    results: list[ImageResult] = []
    classes: list[str] | None = None
    failed = 0
    with _progress(len(images)) as (say, advance):
        for image, future in parallel_map(client.score, images, at_once):
            try:
                results.append(future.result() | {"filename": names[image]})
                if copies:
                    classes = client.classes() if classes is None else classes
                    _draw(image, results[-1], classes, copies[image])
            except ImageFailedError as error:
                failed += 1
                say(error)
            except ServiceError as error:
                if not results:
                    raise
                say(error)
                return results, len(images) - len(results)
            advance()
    return results, failed


def show(results: list[ImageResult], failed: int, seconds: float, output: str | None) -> None:
    """A row for each box, and a line that sums up."""
    console = _console()
    if results:
        console.print(_table(results, console.width if console.is_terminal else None))
    objects = sum(len(result["boxes"]) for result in results)
    drawn = f", drawn in {output}" if output and results else ""
    without = f"; {_counted(failed, 'image')} without an result" if failed else ""
    found = f"{_counted(len(results), 'image')}, {_counted(objects, 'object')}"
    console.print(
        f"{found} in {seconds:.2f} s{drawn}{without}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def show_load(figures: dict[str, Any]) -> None:
    """What `Load.to_json` holds, for people."""
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
        told = "   ".join(f"{stage} {value:.1f}" for stage, value in inside.items())
        table.add_row("in the service", f"{told}   (medians)")
    outcomes = "   ".join(f"{outcome}: {number:,}" for outcome, number in figures["outcomes"].items())
    table.add_row("results", outcomes)
    console.print(table, highlight=False)


def _table(results: list[ImageResult], width: int | None) -> Table:
    """For a terminal of `width` columns; without one every line is whole, and told apart from the others."""
    labels = [found["label"] for result in results for found in result["boxes"]] or [_NOTHING]
    label_width = min(_LABEL, max(map(cell_len, labels)))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("image", no_wrap=True)
    table.add_column("class", no_wrap=True, overflow="ellipsis", min_width=label_width)
    for heading in _NUMBERS:
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    # Each column but the first has two spaces at its side, and so have the edges.
    left = None if width is None else width - label_width - sum(len(name) + 3 for name in _NUMBERS) - 7
    for result in results:
        # As Text: a name may hold what rich takes for markup.
        name = Text(_shortened(printable(result["filename"]), left))
        if not result["boxes"]:
            table.add_row(name, Text(_NOTHING, style="dim"))
        for found in result["boxes"]:
            corners = [f"{value:.0f}" for value in in_pixels(result, found)]
            table.add_row(name, Text(found["label"]), f"{found['score']:.2f}", *corners)
            name = name if width is None else Text("")
    return table


def _shortened(name: str, width: int | None) -> str:
    """Its end, which tells more than its beginning."""
    if width is None or cell_len(name) <= width:
        return name
    while name and cell_len(name) >= max(width, _SHORTEST):
        name = name[1:]
    return f"…{name}"


def _draw(image: Path, result: ImageResult, classes: list[str], target: Path) -> None:
    # Not above: it loads OpenCV, and most runs draw nothing.
    from lookonce.inference.draw import draw
    from lookonce.io.images import ImageError, read_image

    try:
        pixels = read_image(image)
    except ImageError as error:
        raise ImageFailedError(f"{error} (to be drawn; its result is there)") from error
    write_drawn(draw(pixels, _detections(result, classes)), target)


def _detections(result: ImageResult, classes: list[str]) -> Detections:
    """The result as a detector would have given it; `classes` decides on colours."""
    import numpy as np

    from lookonce.core.detections import Detections

    labels = [found["label"] for found in result["boxes"]]
    names = tuple(dict.fromkeys([*classes, *labels]))
    size = (result["width"], result["height"])
    corners = [in_pixels(result, found) for found in result["boxes"]]
    boxes = np.asarray(corners, np.float32).reshape(-1, 4)
    return Detections(
        np.clip(boxes, 0, np.asarray(size * 2, np.float32)),
        np.asarray([found["score"] for found in result["boxes"]], np.float32),
        np.asarray([names.index(label) for label in labels], np.int64),
        names,
        size,
    )


@contextmanager
def _progress(images: int) -> Iterator[tuple[Callable[[object], None], Callable[[], None]]]:
    """How to tell of an error, and of an image that is done; a bar for many images, in a terminal."""
    console = Console(stderr=True)

    def say(error: object) -> None:
        console.print(f"lookonce: {error}", highlight=False, markup=False, soft_wrap=True)

    if images <= _FEW or not console.is_terminal:
        yield say, lambda: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=images)
        yield say, lambda: progress.advance(task)


def _console() -> Console:
    """As wide as the terminal; without one, as wide as needed, so that every line is whole."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
