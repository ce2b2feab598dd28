"""How often a part was begun, kept outside the workers: what brings them down must not do so for ever."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Attempts:
    """Counts for one run, in a process of its own; all of it is small."""

    def __init__(self, workers: int, retries: int) -> None:
        """`workers` run at a time; a part may lose its worker `retries` times."""
        # One more than deaths over parts can need: of those, a part's own count tells more.
        self._most_starts = workers * (2 + retries)
        self._most_begun = 1 + retries
        self._starts = 0
        self._begun: Counter[str] = Counter()

    def start(self) -> bool:
        """A worker starts: whether it may; not where so many did without one part's end."""
        self._starts += 1
        return self._starts <= self._most_starts

    def begin(self, part: str) -> bool:
        """A worker begins a part: whether it may; not where so many died over it."""
        self._begun[part] += 1
        return self._begun[part] <= self._most_begun

    def end(self, part: str) -> None:
        """A part is written."""
        self._starts = 0
        self._begun.pop(part, None)


def attempts_actor(workers: int, retries: int) -> Any:
    """An Attempts that every worker reaches; it takes no processor."""
    import ray

    # Should its machine die, it counts from nothing: a run is then longer, not wrong.
    remote = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts)
    return remote.remote(workers, retries)
