"""The video side of `lookonce detect`: files, cameras and streams."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lookonce.cli.argument_types import positive
from lookonce.cli.model_arguments import open_detector
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from lookonce.inference.video import LiveSource, Tally, VideoFile

_FILES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".mts", ".m2ts")
_STATUS_SECONDS = 1.0
_LOG_SECONDS = 10.0


def add_video_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that apply to video only."""
    group = parser.add_argument_group("video, cameras and streams")
    group.add_argument("--track", action="store_true", help="track objects: ids, and a count per class")
    group.add_argument("--show", action="store_true", help="show frames in a window; q or Esc stops")
    group.add_argument("--max-frames", type=positive, metavar="N", help="stop after N frames")
    group.add_argument(
        "--seconds", type=float, metavar="S", help="stop a camera or stream after S seconds (else: Ctrl-C)"
    )


def is_video(source: str) -> bool:
    """Return whether SOURCE is a video file, a camera index or an address."""
    path = Path(source)
    return _is_live(source) or _is_address(source) or (_is_video_name(source) and not path.is_dir())


def refuse_video_flags(arguments: argparse.Namespace) -> None:
    """Raise LookonceError for flags that do not apply to images."""
    for flag in ("track", "show", "max_frames", "seconds"):
        if getattr(arguments, flag):
            raise LookonceError(
                f"--{flag.replace('_', '-')} is for video, cameras and streams, not {arguments.source}."
            )


def run_video(arguments: argparse.Namespace) -> int:
    """Detect in a video, write annotated video and JSON lines, print figures; return 1 if truncated."""
    from lookonce.inference.video import LOWEST_SCORE, LiveSource, Tracker, VideoFile, detect_video

    live = _is_live(arguments.source)
    if arguments.seconds is not None and not live:
        raise LookonceError("--seconds is for cameras and streams; use --max-frames for a file.")
    source: LiveSource | VideoFile
    if live:
        source = LiveSource(arguments.source, _report, arguments.seconds)
    else:
        source = VideoFile(arguments.source, _report)
    output = None if arguments.output == "none" else _output(Path(arguments.output), source)
    json_file = Path(arguments.json) if arguments.json else None
    tracker = Tracker(arguments.conf, source.rate) if arguments.track else None
    conf = min(arguments.conf, LOWEST_SCORE) if tracker else arguments.conf
    detector = open_detector(arguments, conf, many=not live)
    print(f"{detector.card.name}: {detector.engine.name}", flush=True)
    status = _Status(source.frames)
    with _stopped_by_signals(source):
        tally = detect_video(
            detector,
            source,
            output,
            json_file,
            tracker,
            arguments.show,
            arguments.batch,
            arguments.max_frames,
            status,
        )
    status.clear()
    _print_tally(tally, source)
    written = [f"{what} in {path}" for what, path in (("drawn", output), ("JSON lines", json_file)) if path]
    if written:
        print(", ".join(written))
    return 1 if tally.truncated else 0


def _is_address(source: str) -> bool:
    return "://" in source and not Path(source).exists()


def _is_live(source: str) -> bool:
    if Path(source).exists():
        return False
    return source.isdigit() or (_is_address(source) and not _is_video_name(urlsplit(source).path))


def _is_video_name(name: str) -> bool:
    return Path(name).suffix.lower() in _FILES


def _output(output: Path, source: VideoFile | LiveSource) -> Path:
    from lookonce.inference.video import CONTAINERS, check_suffix

    if output.suffix and not output.is_dir():
        check_suffix(output)
        target = output
    else:
        name = re.sub(r"^\w+://", "", source.name) if source.live else Path(source.name).stem
        target = output / (re.sub(r"[^\w.-]+", "-", name).strip("-.") + CONTAINERS[0])
    if Path(source.source).exists() and target.resolve() == Path(source.source).resolve():
        raise LookonceError(f"--output {output} would overwrite {target}; choose another name.")
    return target


@contextmanager
def _stopped_by_signals(source: VideoFile | LiveSource) -> Iterator[None]:
    """Stop a live source on SIGINT and SIGTERM, so that its output files are completed."""
    from lookonce.inference.video import LiveSource

    if not isinstance(source, LiveSource):
        yield
        return
    stop = source.stop
    previous = {one: signal.signal(one, lambda *_: stop()) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in previous.items():
            signal.signal(one, handler)


class _Status:
    """Progress: an updated line on a terminal, or one line every ten seconds in a log."""

    def __init__(self, frames: int) -> None:
        self._total = f" of {frames}" if frames else ""
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic()

    def __call__(self, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._last < (_STATUS_SECONDS if self._terminal else _LOG_SECONDS):
            return
        self._last = now
        text = f"{tally.frames}{self._total} frames, {tally.fps:.1f} fps"
        print(f"\r{text}" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr)
        sys.stderr.flush()

    def clear(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _report(message: str) -> None:
    print(f"lookonce: {message}", file=sys.stderr, flush=True)


def _print_tally(tally: Tally, source: VideoFile | LiveSource) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from lookonce.inference.video import STAGES

    console = Console(highlight=False)
    console.print(_heading(tally, source), markup=False, soft_wrap=True)
    if not tally.frames:
        return
    stages = Table("stage", box=box.SIMPLE_HEAD)
    stages.add_column("ms per frame", justify="right")
    for name in (one for one in STAGES if one in tally.stages):
        stages.add_row(name, f"{1000 * tally.stages[name] / tally.frames:.1f}")
    stages.add_section()
    stages.add_row("end to end", f"{1000 / tally.fps:.1f}", style="bold")
    console.print(stages)
    console.print("Stages overlap: the slowest one limits the speed.")
    columns: list[tuple[str, Callable[[str], int]]] = [
        ("boxes", lambda name: tally.boxes[name]),
        ("most in a frame", lambda name: tally.most_at_once[name]),
    ]
    if tally.objects is not None:
        objects = tally.objects
        columns.insert(0, ("objects", lambda name: objects[name]))
    classes = Table("class", box=box.SIMPLE_HEAD)
    for head, _ in columns:
        classes.add_column(head, justify="right")
    for name, _ in tally.boxes.most_common():
        classes.add_row(name, *(str(value(name)) for _, value in columns))
    console.print(classes if tally.boxes else "Nothing found.")


def _heading(tally: Tally, source: VideoFile | LiveSource) -> str:
    parts = [f"{source.name}: {tally.frames} frames, {tally.fps:.1f} frames/s end to end"]
    for number, what in (
        (tally.skipped, "skipped to keep up"),
        (tally.broken, "broken and skipped"),
        (tally.drops, "connection losses"),
    ):
        if number:
            parts.append(f"{number} {what}")
    if tally.truncated:
        parts.append("the file ends early")
    return "; ".join(parts)
