"""Bounded parallel work in threads: map a function over items, run an iterator ahead of its reader."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Longest single wait of `prefetch`: Ctrl-C does not interrupt a longer one on every system.
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def available_cores() -> int:
    """Return how many cores this process may use; a container's share is often less than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    *,
    ahead: int | None = None,
    ordered: bool = True,
    grace_seconds: float = 0.0,
) -> Generator[tuple[Item, Future[Result]]]:
    """Call `function` on each item in threads; yield each item with its finished future.

    `future.result()` returns the result or raises the item's own exception, so that one failure need not end
    the rest. An exception raised by `items` is raised after all results before it. Closing the generator,
    or leaving a `for` loop over it, cancels the calls that have not started.

    Args:
        function: called in the worker threads.
        items: read lazily, in the caller's thread.
        workers: calls that run at the same time.
        ahead: items in flight (queued, running, or finished and not yet yielded); default 2 * `workers`.
        ordered: yield in the order of `items`; otherwise in the order in which calls finish.
        grace_seconds: on closing, how long to wait for calls that are running. The threads are daemons:
            calls that take longer are abandoned.
    """
    limit = 2 * workers if ahead is None else ahead
    if workers < 1 or limit < 1:
        raise ValueError(f"workers is {workers}, ahead is {limit}; expected 1 or more")
    tasks: queue.SimpleQueue[tuple[Item, Future[Result]] | None] = queue.SimpleQueue()
    finished: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()
    in_flight: dict[Future[Result], Item] = {}
    threads: list[threading.Thread] = []

    def work() -> None:
        while (task := tasks.get()) is not None:
            item, future = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(item))
                except BaseException as error:
                    future.set_exception(error)
            if not ordered:
                finished.put(future)
            # Waiting for the next task must not keep this one's image in memory.
            del task, item, future

    remaining = iter(items)
    exhausted = False
    failure: Exception | None = None
    try:
        while True:
            while not exhausted and len(in_flight) < limit:
                try:
                    item = next(remaining)
                except StopIteration:
                    exhausted = True
                    break
                except Exception as error:
                    exhausted, failure = True, error
                    break
                future: Future[Result] = Future()
                in_flight[future] = item
                tasks.put((item, future))
                if len(threads) < workers:
                    threads.append(threading.Thread(target=work, name="parallel-map", daemon=True))
                    threads[-1].start()
            if not in_flight:
                break
            future = next(iter(in_flight)) if ordered else finished.get()
            future.exception()  # Waits until the call is done.
            yield in_flight.pop(future), future
        if failure is not None:
            raise failure
    finally:
        for waiting in in_flight:
            waiting.cancel()
        for _ in threads:
            tasks.put(None)
        deadline = time.monotonic() + grace_seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def prefetch(items: Iterable[Item], depth: int) -> Generator[Item]:
    """Yield `items` in order while a thread reads up to `depth` of them ahead.

    An exception raised by `items` is raised here after the items before it. When the reader stops early, the
    thread stops after its current item and closes `items` if that is a generator; closing waits for this.
    """
    line: queue.Queue[Item | _End] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: Item | _End) -> bool:
        while not stopped.is_set():
            try:
                line.put(item, timeout=_POLL_SECONDS)
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

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = line.get(timeout=_POLL_SECONDS)
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
