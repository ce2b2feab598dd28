"""Requests per second and latencies of the service under 1, 4, 16 and 64 clients, on this machine.

    python benchmarks/load.py MODEL IMAGE [--azure-server BIN/azmlinfsrv] [--workers 1,2] [--seconds 10]

Needs wrk. The services take turns, round by round; `benchmark` measures the same model and image one after
the other in between, and its rate is what the shares refer to.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

CLIENTS = (1, 4, 16, 64)
LUA = """
local file = io.open(os.getenv("IMAGE"), "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "image/jpeg"
done = function(summary, latency)
  io.write(string.format("RESULT %f %f %f %f %d %d\\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
"""


@contextlib.contextmanager
def running(command: list[str], url: str, env: dict[str, str]) -> Iterator[None]:
    """A server process, from ready to ended."""
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(url, timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None or time.monotonic() > until:
                    sys.exit(f"{command[0]} did not come up at {url}")
                time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def ask(url: str, clients: int, seconds: float, script: Path, image: Path) -> list[float]:
    """Requests/s, p50, p95, p99 in ms, answers that were no 2xx, broken connections."""
    done = subprocess.run(
        [*("wrk", "-t1", f"-c{clients}", f"-d{round(seconds)}s", "--timeout", "20s", "-s", str(script)), url],
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        env={**os.environ, "IMAGE": str(image)},
    )
    found = re.search(r"RESULT (.*)", done.stdout)
    if not found:
        sys.exit(f"wrk: {done.stdout}{done.stderr}")
    return [float(value) for value in found[1].split()]


def one_after_the_other(model: str, image: Path, seconds: float, folder: Path) -> float:
    """`lookonce benchmark`'s images/s, reading to drawing."""
    figures = folder / "speed.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "lookonce", "benchmark", model, "--image", str(image)),
            *("--seconds", str(seconds), "--json", str(figures)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    milliseconds = json.loads(figures.read_text())["engines"][0]["milliseconds"]
    return 1000 / float(milliseconds["all"]["median"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("image", type=Path)
    parser.add_argument("--azure-server", metavar="azmlinfsrv", help="of an environment with lookonce in it")
    parser.add_argument("--workers", default="1", help="numbers of processes to compare")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    clean = {key: value for key, value in os.environ.items() if key != "WEBSERVICE_KEY"}
    figures: dict[str, dict[int, list[list[float]]]] = {}
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "post.lua"
        script.write_text(LUA)
        for _ in range(given.rounds):
            bare.append(one_after_the_other(given.model, given.image, given.seconds, folder))
            print(f"one after the other: {bare[-1]:.1f} images/s", flush=True)
            servers = {}
            for workers in given.workers.split(","):
                port = free_port()
                command = [sys.executable, "-m", "lookonce", "serve", given.model, "--port", str(port)]
                servers[f"serve, workers {workers}"] = (
                    [*command, "--workers", workers],
                    f"http://127.0.0.1:{port}",
                    "/ready",
                    clean,
                )
            if given.azure_server:
                import lookonce.serving

                port = free_port()
                entry = Path(lookonce.serving.__file__).with_name("protocols") / "azure" / "score_script.py"
                servers["azureml-inference-server-http"] = (
                    [given.azure_server, "--entry_script", str(entry), "--port", str(port)],
                    f"http://127.0.0.1:{port}",
                    "/",
                    {**clean, "LOOKONCE_MODEL": str(Path(given.model).resolve())},
                )
            for title, (command, url, ready, env) in servers.items():
                with running(command, url + ready, env):
                    ask(f"{url}/score", 4, 2, script, given.image)
                    for clients in CLIENTS:
                        row = ask(f"{url}/score", clients, given.seconds, script, given.image)
                        figures.setdefault(title, {}).setdefault(clients, []).append(row)
                        print(
                            f"{title:32} {clients:3} clients " + " ".join(f"{value:9.1f}" for value in row),
                            flush=True,
                        )
    rate = statistics.median(bare)
    print(f"\nmedians; one after the other {rate:.1f} images/s (read to draw)")
    print("service, clients, requests/s, share, p50 ms, p95 ms, p99 ms, not 2xx, broken")
    for title, rows in figures.items():
        for clients, measured in rows.items():
            middle = [statistics.median(column) for column in zip(*measured, strict=True)]
            print(
                f"{title:32} {clients:3} {middle[0]:7.1f} {middle[0] / rate:5.2f} "
                + " ".join(f"{value:7.1f}" for value in middle[1:4])
                + f" {sum(row[4] for row in measured):.0f} {sum(row[5] for row in measured):.0f}"
            )


if __name__ == "__main__":
    main()
