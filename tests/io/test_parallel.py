import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from lookonce.io.parallel import parallel_map, prefetch

# Far above what anything here takes: only a deadlock reaches it.
PATIENCE = 60


def square(number: int) -> int:
    time.sleep(0.002 * (number % 3))
    return number * number


def test_results_come_in_the_order_of_the_items():
    found = [(item, future.result()) for item, future in parallel_map(square, range(50), 4)]
    assert found == [(number, number * number) for number in range(50)]


def test_no_items_give_no_results():
    assert list(parallel_map(square, [], 4)) == []


def test_unordered_results_come_as_they_finish():
    release = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert release.wait(PATIENCE)
        return number

    results = parallel_map(work, range(6), 2, ordered=False)
    found = [next(results)[0] for _ in range(5)]
    release.set()
    assert sorted(found) == [1, 2, 3, 4, 5]
    assert [item for item, _ in results] == [0]


def test_unordered_results_may_be_of_arrays():
    arrays = [np.full((2, 2), number) for number in range(8)]
    found = [future.result() for _, future in parallel_map(np.sum, arrays, 3, ordered=False)]
    assert sorted(found) == [4 * number for number in range(8)]


def test_one_failure_leaves_the_other_items_alone():
    def invert(number: int) -> float:
        return 1 / number

    futures = [future for _, future in parallel_map(invert, [1, 0, 2], 2)]
    assert futures[0].result() == 1
    with pytest.raises(ZeroDivisionError):
        futures[1].result()
    assert futures[2].result() == 0.5


@pytest.mark.parametrize("ordered", [True, False])
def test_an_error_of_the_items_comes_after_the_results_before_it(ordered: bool):
    def numbers() -> Iterator[int]:
        yield from range(5)
        raise ZeroDivisionError

    found: list[int] = []
    results = parallel_map(square, numbers(), 2, ahead=8, ordered=ordered)
    with pytest.raises(ZeroDivisionError):
        found.extend(item for item, _ in results)
    assert sorted(found) == [0, 1, 2, 3, 4]


def test_no_more_items_are_read_than_may_be_in_flight():
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    for done, _ in enumerate(parallel_map(square, numbers(), 2, ahead=3)):
        assert len(read) <= done + 3
    assert len(read) == 100


def test_no_more_calls_run_at_once_than_there_are_workers():
    lock = threading.Lock()
    running = most = 0

    def work(number: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1

    list(parallel_map(work, range(30), 3, ahead=12))
    assert most == 3


def test_closing_cancels_what_has_not_started_and_abandons_what_hangs():
    release, begun = threading.Event(), []

    def work(number: int) -> None:
        begun.append(number)
        if number:
            release.wait(PATIENCE)

    results = parallel_map(work, range(100), 2, ahead=20)
    next(results)
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < PATIENCE / 2
    release.set()
    assert len(begun) <= 3


def test_closing_waits_for_running_calls_within_the_grace_period():
    finished: list[int] = []
    entered, closing = threading.Event(), threading.Event()

    def work(number: int) -> None:
        if number:
            entered.set()
            assert closing.wait(PATIENCE)
            finished.append(number)

    results = parallel_map(work, range(10), 1, grace_seconds=PATIENCE)
    next(results)
    assert entered.wait(PATIENCE)
    threading.Timer(0.05, closing.set).start()
    results.close()
    assert finished == [1]


def test_an_error_in_the_loop_cancels_the_rest():
    begun: list[int] = []
    threads = threading.active_count()

    def consume() -> None:
        for _item, _future in parallel_map(begun.append, range(1000), 2, ahead=4):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert len(begun) <= 4
    limit = time.monotonic() + PATIENCE
    while threading.active_count() > threads and time.monotonic() < limit:
        time.sleep(0.01)
    assert threading.active_count() <= threads


@pytest.mark.parametrize(("workers", "ahead"), [(0, None), (2, 0)])
def test_numbers_below_one_are_refused(workers: int, ahead: int | None):
    with pytest.raises(ValueError, match="1 or more"):
        next(parallel_map(square, [1], workers, ahead=ahead))


def test_prefetch_keeps_the_order_and_raises_the_error_after_it():
    def numbers() -> Iterator[int]:
        yield from range(5)
        raise ZeroDivisionError

    found: list[int] = []
    with pytest.raises(ZeroDivisionError):
        found.extend(prefetch(numbers(), 2))
    assert found == [0, 1, 2, 3, 4]


def test_prefetch_stops_and_closes_its_source_when_the_reader_stops():
    produced: list[int] = []
    closed: list[bool] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                produced.append(len(produced))
                yield len(produced)
        finally:
            closed.append(True)

    items = prefetch(prefetch(endless(), 2), 2)
    assert next(items) == 1
    items.close()
    assert closed == [True]
    assert len(produced) < 12
