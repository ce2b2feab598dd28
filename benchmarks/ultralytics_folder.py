"""Whole commands: lookonce against Ultralytics' predict, each on yolov3-tiny at 416x416.

Run:  .venv/bin/python benchmarks/ultralytics_folder.py MODEL IMAGES [--count 500] [--rounds 3]
      [--peer-python PYTHON]  the interpreter of an environment where Ultralytics can be imported
Time: about three minutes on two cores.

MODEL is our trained yolov3-tiny. Theirs is yolov3-tiny.yaml without training, which finds next to nothing
and so has the easier task; their variant takes about 1.46 times the arithmetic of Darknet's. Turn by turn,
each in a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lookonce.io.images import list_images

PEER = """
import sys
from ultralytics import YOLO
model = YOLO("yolov3-tiny.yaml", verbose=False)
for _ in model.predict(sys.argv[1], imgsz=416, verbose=False, stream=True, batch=int(sys.argv[2])):
    pass
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("images")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable)
    arguments = parser.parse_args()
    ours = [sys.executable, "-m", "lookonce", "detect", arguments.model]
    theirs = [arguments.peer_python, "-c", PEER]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "in"
        folder.mkdir()
        images = itertools.islice(itertools.cycle(list_images(arguments.images)), arguments.count)
        for index, image in enumerate(images):
            (folder / f"{index:05d}{image.suffix}").symlink_to(image.resolve())
        one = str(next(iter(sorted(folder.iterdir()))))
        for what, source, count in (("one image", one, 1), ("folder", str(folder), arguments.count)):
            seconds: dict[str, list[float]] = {"lookonce": [], "ultralytics": [], "ultralytics, batch 8": []}
            for _ in range(arguments.rounds):
                seconds["lookonce"].append(_timed([*ours, source, "--output", "none"]))
                seconds["ultralytics"].append(_timed([*theirs, source, "1"]))
                seconds["ultralytics, batch 8"].append(_timed([*theirs, source, "8"]))
            for who, taken in seconds.items():
                ratio = statistics.median(a / b for a, b in zip(taken, seconds["lookonce"], strict=True))
                middle = statistics.median(taken)
                print(
                    f"{what:12} {who:22} {middle:6.2f} s  {count / middle:6.1f}/s  {ratio:.2f} x ours",
                    flush=True,
                )


def _timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
