"""Hostile requests against a service with a key, with good traffic beside them: none accepted, none fatal.

    python benchmarks/hostile.py MODEL IMAGE [--requests 10000] [--clients 8]

Good clients ask without a pause, alone and beside the hostile ones in alternating blocks; their latencies
are compared. Prints what each kind was answered with, and whether the process is still the same.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gzip
import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
from PIL import Image

KEY = "the-right-key-8c1f"
Made = tuple[bytes, bool]


def request(
    body: bytes = b"",
    path: str = "/score",
    method: str = "POST",
    kind: str = "image/jpeg",
    key: str | None = KEY,
    more: tuple[str, ...] = (),
    length: int | None = None,
) -> bytes:
    """One HTTP request's bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Type: {kind}", "Connection: close", *more]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def bomb(side: int, form: str = "PNG") -> bytes:
    written = io.BytesIO()
    Image.new("1" if form == "PNG" else "L", (side, side)).save(written, form)
    return written.getvalue()


class Kinds:
    """Makers of hostile requests; each gives the bytes, and whether the client hangs up without reading."""

    def __init__(self, image: bytes, seed: int) -> None:
        self.random, self.image = random.Random(seed), image
        self.bombs = [bomb(12_000), bomb(13_000, "TIFF"), bomb(9_000)]
        self.zipped = gzip.compress(bytes(50_000_000))

    def huge_header(self) -> Made:
        return request(self.image, more=("X-A: " + "a" * self.random.randint(40_000, 200_000),)), False

    def many_headers(self) -> Made:
        return request(self.image, more=("X-B: c",) * self.random.randint(20_000, 40_000)), False

    def nested_json(self) -> Made:
        opening = self.random.choice([b"[", b'{"a":', b'{"input_data":'])
        return request(opening * self.random.randint(1_000, 100_000), kind="application/json"), False

    def odd_json(self) -> Made:
        choices: list[object] = [None, [], {}, 1e308, "x", {"data": {}}, {"data": [[]]}, {"input_data": 5}]
        choices += [{"data": ["AAAA"] * 500}, {"data": "A" * 1_000_001}, {"input_data": {"data": [None]}}]
        return request(json.dumps(self.random.choice(choices)).encode(), kind="application/json"), False

    def pixel_bomb(self) -> Made:
        body = self.random.choice(self.bombs)
        if self.random.random() < 0.5:
            text = json.dumps({"data": base64.b64encode(body).decode()}).encode()
            return request(text, kind="application/json"), False
        return request(body, kind="image/png"), False

    def zip_bomb(self) -> Made:
        return request(self.zipped, more=("Content-Encoding: gzip",)), False

    def wrong_length(self) -> Made:
        choice = self.random.randrange(5)
        if choice == 0:
            return request(self.image[:100], length=len(self.image)), True
        if choice == 1:
            return request(b"", length=10**15), False
        if choice == 2:
            return request(self.image[:50], more=("Content-Length: 7",)), False
        if choice == 3:
            return request(b"zz\r\nhello\r\n", more=("Transfer-Encoding: chunked",)), False
        return request(b"", length=-1), False

    def path_trick(self) -> Made:
        paths = [
            "/page/../../settings.py",
            "/page/%2e%2e/app.py",
            "/page/..%2f..%2fetc/passwd",
            "//score",
            "/score/..",
        ]
        paths += [
            "/%00",
            "/page/%00",
            "/v2/models/../../metrics",
            "/" + "a" * 30_000,
            "/page/./index.html/..",
            "/model;x",
        ]
        return request(path=self.random.choice(paths), method="GET", key=None), False

    def key_guess(self) -> Made:
        guesses = [
            "",
            "None",
            KEY[:-1],
            KEY + "x",
            KEY.upper(),
            "a" * 20_000,
            str(self.random.random()),
            f" {KEY[1:]}",
        ]
        return request(self.image, key=self.random.choice(guesses)), False

    def no_key(self) -> Made:
        path = self.random.choice(
            ["/score", "/model", "/metrics", "/v2", "/v2/models/x/infer", "/v2/repository/index"]
        )
        return request(self.image, path=path, key=None), False

    def garbage(self) -> Made:
        return self.random.randbytes(self.random.randint(1, 3000)), False

    def broken_image(self) -> Made:
        body = bytearray(self.image[: self.random.randint(2, 400)])
        for _ in range(5):
            body[self.random.randrange(len(body))] = self.random.randrange(256)
        return request(bytes(body)), False

    def odd_multipart(self) -> Made:
        body = b'--b\r\nContent-Disposition: form-data; name="f"; filename="../../x"\r\n\r\nno image'
        body = self.random.choice(
            [body, body + b"\r\n--b--", b"--b" * 5_000, b"--b\r\n\r\n\r\n" * 3_000, b""]
        )
        return request(
            body, kind=self.random.choice(["multipart/form-data; boundary=b", "multipart/form-data"])
        ), False

    def hang_up(self) -> Made:
        return request(self.image), True

    def all(self) -> dict[str, Callable[[], Made]]:
        names = [name for name in vars(Kinds) if not name.startswith("_") and name != "all"]
        return {name: getattr(self, name) for name in names}


async def send(port: int, content: bytes, hangs_up: bool) -> str:
    """The status that a request is answered with, or how the connection ended."""
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        writer.write(content)
        if hangs_up:
            await writer.drain()
            return "hung up"
        async with asyncio.timeout(40):
            line = await reader.readline()
        found = re.match(rb"HTTP/1.1 (\d{3})", line)
        return found[1].decode() if found else "closed"
    except TimeoutError:
        return "no answer"
    except OSError:
        return "closed"
    finally:
        if writer is not None:
            writer.close()


async def dribble(port: int, end: asyncio.Event) -> None:
    """Headers or a body, a byte a second, again and again."""
    while not end.is_set():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            content = request(b"x" * 50, key=None if id(writer) % 2 else KEY)
            for byte in content[id(writer) % len(content) // 2 :]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(1)
                if end.is_set():
                    break
            writer.close()
        except OSError:
            await asyncio.sleep(0.2)


async def good(port: int, image: bytes, until: float, latencies: list[float], wrong: Counter[str]) -> None:
    while time.monotonic() < until:
        begun = time.monotonic()
        status = await send(port, request(image), False)
        if status == "200":
            latencies.append(time.monotonic() - begun)
        else:
            wrong[status] += 1


async def attack(port: int, given: argparse.Namespace, process: psutil.Process) -> None:
    image = Path(given.image).read_bytes()
    made = Kinds(image, seed=1).all()
    answered: dict[str, Counter[str]] = {name: Counter() for name in made}
    alone: list[float] = []
    beside: list[float] = []
    wrong: Counter[str] = Counter()
    order = random.Random(2)
    names = [order.choice(list(made)) for _ in range(given.requests)]
    memory = process.memory_info().rss
    blocks = 4
    for block in range(blocks):
        await asyncio.gather(
            *(good(port, image, time.monotonic() + given.alone, alone, wrong) for _ in range(2))
        )
        end = asyncio.Event()
        slow = [asyncio.create_task(dribble(port, end)) for _ in range(50)]
        waiting = names[block * len(names) // blocks : (block + 1) * len(names) // blocks]
        busy = [
            asyncio.create_task(good(port, image, time.monotonic() + 3600, beside, wrong)) for _ in range(2)
        ]

        async def hostile(waiting: list[str] = waiting) -> None:
            while waiting:
                name = waiting.pop()
                content, hangs_up = made[name]()
                answered[name][await send(port, content, hangs_up)] += 1

        await asyncio.gather(*(hostile() for _ in range(given.clients)))
        for task in busy:
            task.cancel()
        end.set()
        await asyncio.gather(*busy, *slow, return_exceptions=True)
    for name, counts in answered.items():
        print(f"{name:16}", ", ".join(f"{status} x {count}" for status, count in sorted(counts.items())))
    accepted = sum(counts["200"] for counts in answered.values())
    faults = sum(
        count
        for counts in answered.values()
        for status, count in counts.items()
        if status.startswith("5") and status != "503"
    )
    print(f"accepted {accepted}, faults {faults}; good requests that failed: {dict(wrong) or 'none'}")
    for title, seconds in (("alone", alone), ("beside", beside)):
        cuts = [1000 * cut for cut in statistics.quantiles(seconds, n=20)]
        print(f"good traffic {title}: {len(seconds)} requests, p50 {cuts[9]:.1f}, p95 {cuts[18]:.1f} ms")
    ratio = statistics.median(beside) / statistics.median(alone)
    print(
        f"slowed by {ratio:.2f}; process {'the same' if process.is_running() else 'gone'}, "
        f"memory {memory / 2**20:.0f} -> {process.memory_info().rss / 2**20:.0f} MiB, "
        f"{process.num_fds()} descriptors"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("image")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8, help="hostile ones at once")
    parser.add_argument("--alone", type=float, default=10, help="seconds of good traffic alone, a block")
    given = parser.parse_args()
    process = subprocess.Popen(
        [sys.executable, "-m", "lookonce", "serve", given.model, "--port", "0"],
        env={**os.environ, "WEBSERVICE_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    port = int(re.search(r":(\d+)/", process.stdout.readline())[1])  # type: ignore[index]
    time.sleep(3)
    try:
        asyncio.run(attack(port, given, psutil.Process(process.pid)))
    finally:
        process.terminate()
        process.wait(60)


if __name__ == "__main__":
    main()
