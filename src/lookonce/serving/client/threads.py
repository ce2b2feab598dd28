"""Several requests at once, answers in order, and an end at once when the caller has had enough."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], at_once: int
) -> Iterator[tuple[Item, Future[Result]]]:
    """Each item with its finished `work(item)`, `at_once` of them under way, in the items' order.

    The threads are daemons: Ctrl-C, or a caller that goes away, needn't wait for what is under way.
    """
    todo: SimpleQueue[tuple[Item, Future[Result]] | None] = SimpleQueue()

    def run() -> None:
        while (task := todo.get()) is not None:
            item, future = task
            try:
                future.set_result(work(item))
            except BaseException as error:
                future.set_exception(error)

    remaining = iter(items)
    under_way: deque[tuple[Item, Future[Result]]] = deque()
    for _ in range(at_once):
        Thread(target=run, name="score", daemon=True).start()
    try:
        while True:
            # Twice as many: an answer that is slow to come keeps nobody idle.
            for item in islice(remaining, 2 * at_once - len(under_way)):
                under_way.append((item, Future()))
                todo.put(under_way[-1])
            if not under_way:
                return
            item, future = under_way.popleft()
            # Waits; the caller asks again and gets the error, if it is one.
            future.exception()
            yield item, future
    finally:
        for _ in range(at_once):
            todo.put(None)
