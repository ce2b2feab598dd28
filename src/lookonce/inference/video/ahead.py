"""Work done ahead by a thread, so that the steps of a pipeline overlap."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

# Waits are cut into pieces of this length: Ctrl-C cannot end a longer one on every system.
_PIECE_SECONDS = 0.2


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def ahead(items: Iterable[Item], depth: int) -> Generator[Item]:
    """`items` in order, made by a thread of their own that runs up to `depth` items ahead.

    An error in making them comes out here, after what was made before it. When the reader stops early, the
    thread ends after the item in hand, and `items`, where it is a generator, is closed.
    """
    line: queue.Queue[Item | _End] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: Item | _End) -> bool:
        while not stopped.is_set():
            try:
                line.put(item, timeout=_PIECE_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(item):
                    break
        except BaseException as raised:
            error = raised
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        put(_End(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = line.get(timeout=_PIECE_SECONDS)
            except queue.Empty:
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        thread.join()
