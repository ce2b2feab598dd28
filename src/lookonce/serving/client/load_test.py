"""Load test: concurrent clients send images for a while; count and time the responses."""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import Barrier, Lock, Thread
from typing import Any

from urllib3.exceptions import HTTPError, NewConnectionError, TimeoutError

from lookonce.serving.client.client import ScoringClient
from lookonce.serving.client.failures import Reply

PERCENTILES = (50, 95, 99)
# A client whose request failed pauses, instead of retrying a thousand times a second.
_AFTER_FAILURE_SECONDS = 0.05


@dataclass
class LoadResult:
    """Results of a load test with `clients` over `seconds`.

    `outcomes` counts HTTP statuses, "timeout" and "no connection". `latencies` holds the seconds of each 200
    response, `stages` the milliseconds per stage that the service reports in Server-Timing.
    """

    clients: int
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    latencies: array[float] = field(default_factory=lambda: array("d"))
    stages: dict[str, array[float]] = field(default_factory=dict)

    def add(self, other: LoadResult) -> None:
        """Add the results of another client."""
        self.outcomes.update(other.outcomes)
        self.latencies.extend(other.latencies)
        for stage, values in other.stages.items():
            self.stages.setdefault(stage, array("d")).extend(values)

    def to_json(self) -> dict[str, Any]:
        """Return all figures, times in milliseconds; None without successful responses."""
        ordered = sorted(self.latencies)
        return {
            "clients": self.clients,
            "seconds": round(self.seconds, 3),
            "requests_per_second": round(len(ordered) / self.seconds, 2),
            "milliseconds": {
                **{f"p{share}": _milliseconds(percentile(ordered, share)) for share in PERCENTILES},
                "max": _milliseconds(ordered[-1] if ordered else None),
            },
            "outcomes": dict(sorted(self.outcomes.items())),
            "service_milliseconds": {
                stage: round(percentile(sorted(values), 50) or 0.0, 3)
                for stage, values in self.stages.items()
            },
        }


def measure(client: ScoringClient, contents: Sequence[bytes], clients: int, seconds: float) -> LoadResult:
    """Send `contents` in turn from `clients` threads for `seconds`, without retries."""
    turns, lock, barrier = count(), Lock(), Barrier(clients + 1)
    loads = [LoadResult(1) for _ in range(clients)]

    def run(load: LoadResult) -> None:
        barrier.wait()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with lock:
                turn = next(turns)
            if not _send_once(client, contents[turn % len(contents)], load):
                time.sleep(_AFTER_FAILURE_SECONDS)

    # Daemons: Ctrl-C does not wait for responses.
    threads = [Thread(target=run, args=(load,), name="client", daemon=True) for load in loads]
    for thread in threads:
        thread.start()
    barrier.wait()
    started = time.monotonic()
    for thread in threads:
        thread.join()
    total = LoadResult(clients, time.monotonic() - started)
    for load in loads:
        total.add(load)
    return total


def percentile(ordered: Sequence[float], share: int) -> float | None:
    """Return the `share` percentile of sorted values (nearest rank), or None if there are none."""
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)] if ordered else None


def _send_once(client: ScoringClient, content: bytes, load: LoadResult) -> bool:
    started = time.monotonic()
    try:
        reply = client.post(content)
    except (HTTPError, OSError) as error:
        late = isinstance(error, TimeoutError) and not isinstance(error, NewConnectionError)
        load.outcomes["timeout" if late else "no connection"] += 1
        return False
    load.outcomes[str(reply.status)] += 1
    if reply.status != 200:
        return False
    load.latencies.append(time.monotonic() - started)
    for stage, value in _stages(reply):
        load.stages.setdefault(stage, array("d")).append(value)
    return True


def _stages(reply: Reply) -> list[tuple[str, float]]:
    """Parse a Server-Timing header such as `infer;dur=4.2, nms;dur=0.1`."""
    found = []
    for part in reply.headers.get("server-timing", "").split(",")[:16]:
        stage, _, value = part.strip().partition(";dur=")
        try:
            found.append((stage[:20], float(value)))
        except ValueError:
            continue
    return found


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)
