"""`lookonce score`'s images sent and drawn, and its answers shown."""

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
from lookonce.serving.client.address import printable
from lookonce.serving.client.client import in_pixels
from lookonce.serving.client.failures import NoAnswerError, ServiceError
from lookonce.serving.client.threads import in_order

Answer = dict[str, Any]

# More images than these show how far they are.
_FEW = 8
_WIDE = 400
_NOTHING = "nothing found"
_NUMBERS = ("score", "left", "top", "right", "bottom")
_LABEL, _SHORTEST = 20, 8


class Answering(Protocol):
    """Who answers images: a client of a service, or a job's answers."""

    def score(self, image: Path) -> dict[str, Any]:
        """A file's answer. Raises ServiceError or NoAnswerError."""

    def classes(self) -> list[str]:
        """The model's class names in their order; none where they aren't told."""


def send(client: Answering, images: list[Path], at_once: int, output: str | None) -> tuple[list[Answer], int]:
    """The answers, and how many images have none; drawn copies go to `output`.

    What goes wrong with one image is printed, and so is a service that stops working after some answers;
    Raises ServiceError when it gave none.
    """
    names = names_of(images)
    copies = targets(images, Path(output)) if output else {}
    answers: list[Answer] = []
    classes: list[str] | None = None
    failed = 0
    with _progress(len(images)) as (say, advance):
        for image, future in in_order(client.score, images, at_once):
            try:
                answers.append(future.result() | {"filename": names[image]})
                if copies:
                    classes = client.classes() if classes is None else classes
                    _draw(image, answers[-1], classes, copies[image])
            except NoAnswerError as error:
                failed += 1
                say(error)
            except ServiceError as error:
                if not answers:
                    raise
                say(error)
                return answers, len(images) - len(answers)
            advance()
    return answers, failed


def show(answers: list[Answer], failed: int, seconds: float, output: str | None) -> None:
    """A row for each box, and a line that sums up."""
    console = _console()
    if answers:
        console.print(_table(answers, console.width if console.is_terminal else None))
    objects = sum(len(answer["boxes"]) for answer in answers)
    drawn = f", drawn in {output}" if output and answers else ""
    without = f"; {_counted(failed, 'image')} without an answer" if failed else ""
    found = f"{_counted(len(answers), 'image')}, {_counted(objects, 'object')}"
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
    table.add_row("answers", outcomes)
    console.print(table, highlight=False)


def _table(answers: list[Answer], width: int | None) -> Table:
    """For a terminal of `width` columns; without one every line is whole, and told apart from the others."""
    labels = [found["label"] for answer in answers for found in answer["boxes"]] or [_NOTHING]
    label_width = min(_LABEL, max(map(cell_len, labels)))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("image", no_wrap=True)
    table.add_column("class", no_wrap=True, overflow="ellipsis", min_width=label_width)
    for heading in _NUMBERS:
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    # Each column but the first has two spaces at its side, and so have the edges.
    left = None if width is None else width - label_width - sum(len(name) + 3 for name in _NUMBERS) - 7
    for answer in answers:
        # As Text: a name may hold what rich takes for markup.
        name = Text(_shortened(printable(answer["filename"]), left))
        if not answer["boxes"]:
            table.add_row(name, Text(_NOTHING, style="dim"))
        for found in answer["boxes"]:
            corners = [f"{value:.0f}" for value in in_pixels(answer, found)]
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


def _draw(image: Path, answer: Answer, classes: list[str], target: Path) -> None:
    # Not above: it loads OpenCV, and most runs draw nothing.
    from lookonce.core.detections import Detections
    from lookonce.inference.draw import draw
    from lookonce.io.images import ImageError, read_image

    try:
        pixels = read_image(image)
    except ImageError as error:
        raise NoAnswerError(f"{error} (to be drawn; its answer is there)") from error
    write_drawn(draw(pixels, Detections.from_dict(answer, classes)), target)


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
