"""Half an hour of good and bad traffic: statuses, memory, descriptors; a worker killed, a model reloaded.

    python benchmarks/soak.py MODEL IMAGE [--minutes 30] [--rate 20] [--workers 2]

A third in, one worker gets SIGKILL; two thirds in, the model file is replaced and reloaded. Memory is each
worker's resident size, once a minute; compared are the medians of the last third and the one before.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil

from hostile import Kinds, send
from lookonce.export import export_onnx

JPEG = {"Content-Type": "image/jpeg"}


def workers_of(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    found = [child for child in parent.children() if "spawn_main" in " ".join(child.cmdline())]
    return found or [parent]


class Soak:
    """The traffic and what came of it."""

    def __init__(self, port: int, image: bytes, rate: float) -> None:
        self.port, self.image, self.rate = port, image, rate
        self.good: Counter[str] = Counter()
        self.bad: Counter[str] = Counter()
        self.failed: list[tuple[float, str]] = []
        self.boxes: set[int] = set()
        self.begun = time.monotonic()

    async def ask_well(self, client: httpx.AsyncClient, until: float) -> None:
        while time.monotonic() < until:
            begun = time.monotonic()
            try:
                answer = await client.post(
                    f"http://127.0.0.1:{self.port}/score", content=self.image, headers=JPEG
                )
                self.good[str(answer.status_code)] += 1
                if answer.status_code == 200:
                    self.boxes.add(len(answer.json()[0]["boxes"]))
            except httpx.TransportError as error:
                self.good[type(error).__name__] += 1
                self.failed.append((round(time.monotonic() - self.begun, 1), type(error).__name__))
            await asyncio.sleep(max(0, 4 / self.rate - (time.monotonic() - begun)))

    async def ask_badly(self, until: float) -> None:
        made = Kinds(self.image, seed=3).all()
        order = random.Random(4)
        while time.monotonic() < until:
            content, hangs_up = made[order.choice(list(made))]()
            # Without the key of the other benchmark's service: this one has none, and sees what is inside.
            self.bad[await send(self.port, content, hangs_up)] += 1
            await asyncio.sleep(0.2)


async def watch(pid: int, until: float, levels: list[tuple[float, float, int]], begun: float) -> None:
    while time.monotonic() < until:
        await asyncio.sleep(min(60, max(1, until - time.monotonic())))
        try:
            found = workers_of(pid)
            size = sum(one.memory_info().rss for one in found) / 2**20 / len(found)
            levels.append((time.monotonic() - begun, size, sum(one.num_fds() for one in found)))
            print(
                f"{levels[-1][0] / 60:5.1f} min  {size:6.1f} MiB a worker  {levels[-1][2]} descriptors",
                flush=True,
            )
        except psutil.Error:
            continue


async def run(given: argparse.Namespace, served: Path, process: subprocess.Popen[str], port: int) -> None:
    soak = Soak(port, Path(given.image).read_bytes(), given.rate)
    seconds = given.minutes * 60
    until = soak.begun + seconds
    levels: list[tuple[float, float, int]] = []

    async def disturb() -> None:
        await asyncio.sleep(seconds / 3)
        found = workers_of(process.pid)
        if len(found) > 1:
            before = len(soak.failed)
            found[0].send_signal(signal.SIGKILL)
            await asyncio.sleep(10)
            print(f"a worker killed at {seconds / 3:.0f} s: {soak.failed[before:]} failed", flush=True)
        await asyncio.sleep(max(0, soak.begun + 2 * seconds / 3 - time.monotonic()))
        before, old = len(soak.failed), httpx.get(f"http://127.0.0.1:{port}/ready").json()["version"]
        new = served.with_suffix(".new.onnx")
        export_onnx(served, new, resize="stretch")
        os.replace(new, served)
        process.send_signal(signal.SIGHUP)
        await asyncio.sleep(10)
        version = httpx.get(f"http://127.0.0.1:{port}/ready").json()["version"]
        print(f"reloaded, {old} to {version}: {soak.failed[before:]} failed", flush=True)

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(
            *(soak.ask_well(client, until) for _ in range(4)),
            *(soak.ask_badly(until) for _ in range(2)),
            watch(process.pid, until, levels, soak.begun),
            disturb(),
        )
    print(f"good: {dict(soak.good)}; boxes {soak.boxes}\nbad: {dict(soak.bad)}\nfailed: {soak.failed}")
    third = len(levels) // 3
    if third:
        first, last = (
            statistics.median(size for _, size, _ in part)
            for part in (levels[third : 2 * third], levels[2 * third :])
        )
        print(
            f"memory: {first:.1f} MiB in the second third, {last:.1f} in the last ({last / first - 1:+.1%})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("image")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=20, help="good requests a second")
    parser.add_argument("--workers", default="2")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        served = Path(shutil.copy(given.model, Path(folder) / "served.onnx"))
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "lookonce",
                "serve",
                str(served),
                "--port",
                "0",
                "--workers",
                given.workers,
            ],
            env={key: value for key, value in os.environ.items() if key != "WEBSERVICE_KEY"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout
        found = re.search(r":(\d+)/", process.stdout.readline())
        assert found
        time.sleep(5)
        try:
            asyncio.run(run(given, served, process, int(found[1])))
        finally:
            process.terminate()
            print(f"ended with {process.wait(60)}")


if __name__ == "__main__":
    main()
