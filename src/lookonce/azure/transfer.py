"""What uploading and downloading have in common: work in parallel, counted, stoppable, summed up."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TypeVar

from lookonce.azure.explain import explain
from lookonce.errors import LookonceError

Item = TypeVar("Item")

SENT, THERE, DELETED, STRAY = "sent", "there", "deleted", "stray"


@dataclass
class Summary:
    """What came of every file: counts and bytes by result, and the reasons of those that failed."""

    counts: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, result: str, size: int) -> None:
        """One more file."""
        self.counts[result] = self.counts.get(result, 0) + 1
        self.sizes[result] = self.sizes.get(result, 0) + size

    def count(self, result: str) -> int:
        """Files with this result."""
        return self.counts.get(result, 0)


Progress = Callable[[Summary, int, int], None]
"""Called after each file with the summary so far, the bytes dealt with, and all bytes known."""


def in_parallel(
    items: Iterable[tuple[str, int, Item]],
    work: Callable[[Item, threading.Event], str],
    summary: Summary,
    at_once: int,
    progress: Progress | None = None,
    total_bytes: int = 0,
) -> None:
    """`work` on each (name, size, item), `at_once` at a time; it answers a result, or its error is noted.

    Ctrl-C stops: what has begun is finished or fails, the rest stays undone, and KeyboardInterrupt goes on.
    """
    stop = threading.Event()
    done_bytes = 0

    def one(item: Item) -> str:
        return work(item, stop)

    pool = ThreadPoolExecutor(at_once, thread_name_prefix="transfer")
    running: dict[Future[str], tuple[str, int]] = {}
    rest = deque(items)
    try:
        while rest or running:
            while rest and len(running) < 2 * at_once:
                name, size, item = rest.popleft()
                running[pool.submit(one, item)] = (name, size)
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                name, size = running.pop(future)
                error = future.exception()
                if error is None:
                    summary.add(future.result(), size)
                else:
                    summary.failed[name] = str(error) if isinstance(error, LookonceError) else explain(error)
                done_bytes += size
                if progress is not None:
                    progress(summary, done_bytes, total_bytes)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
