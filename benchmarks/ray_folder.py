"""Ray on one machine: thousands of images while a worker is killed midway, against the local engine.

Run:  .venv/bin/python benchmarks/ray_folder.py MODEL IMAGES [--count 5000]
Time: about five minutes for yolov3-tiny 416 and 5,000 images of 640x480 on two cores.

Three commands, each a process of its own: the local engine, Ray left alone, Ray with one worker killed by
SIGKILL when half of the parts are written. After each Ray run every image must stand exactly once in
results and rejects together. Rates are of the whole command, start included, and of what it prints itself.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from pyarrow import parquet

from lookonce.inference.ray.fleet import PART_IMAGES
from lookonce.io.images import list_images


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("images")
    parser.add_argument("--count", type=int, default=5000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "in"
        source.mkdir()
        images = itertools.islice(itertools.cycle(list_images(arguments.images)), arguments.count)
        for index, image in enumerate(images):
            (source / f"{index:06d}{image.suffix}").write_bytes(image.read_bytes())
        (source / "broken.jpg").write_bytes(b"\xff\xd8 no more")
        command = [sys.executable, "-m", "lookonce", "detect", arguments.model, str(source)]
        total = arguments.count + 1
        local = _rate([*command, "--output", "none"], total)
        alone = _rate([*command, "--engine", "ray", "--output", str(folder / "alone")], total)
        _check(folder / "alone", source)
        killed = _rate(
            [*command, "--engine", "ray", "--output", str(folder / "killed")], total, folder / "killed"
        )
        _check(folder / "killed", source)
        print(f"ray / local {alone / local:.2f}; with a worker killed {killed / local:.2f}")


def _rate(command: list[str], images: int, kill_in: Path | None = None) -> float:
    start = time.perf_counter()
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if kill_in:
        half = images // PART_IMAGES // 2
        while len(list(kill_in.glob("results/part-*"))) < half and run.poll() is None:
            time.sleep(0.05)
        workers = [
            child
            for child in psutil.Process(run.pid).children(recursive=True)
            if "MapWorker" in "".join(child.cmdline())
        ]
        workers[0].kill()
        print(f"killed {workers[0].pid}, one of {len(workers)} workers, after {half} parts")
    said = run.communicate()[0].strip().splitlines()
    seconds = time.perf_counter() - start
    print(
        f"{images / seconds:.1f} images/s in {seconds:.0f} s; exit {run.returncode}; {said[-1]}",
        flush=True,
    )
    return images / seconds


def _check(output: Path, source: Path) -> None:
    names = [
        name
        for path in output.glob("re*/part-*.parquet")
        for name in parquet.read_table(path, columns=["filename"])["filename"].to_pylist()
    ]
    expected = sorted(path.name for path in source.iterdir())
    once = sorted(names) == expected
    print(f"{len(names)} rows of {len(expected)} images; each exactly once: {once}", flush=True)
    if not once:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
