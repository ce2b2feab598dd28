"""A folder of images from disk to detections: how near it comes to the engine's bare rate.

Run:  .venv/bin/python benchmarks/folder.py MODEL IMAGES [--count 500] [--batch 8] [--rounds 3]
Time: about a minute for yolov3-tiny 416 and 500 images of 640x480 on two cores.

Bare: the same batches, already resized, through the engine with all its threads. Whole: images read,
resized, through the network, decoded, NMS. Turn by turn in one process; the figure is the median of the
pairwise ratios. The last lines are the whole command, in a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lookonce.inference import Detector
from lookonce.io.images import list_images


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("images")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lanes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    alone, detector = Detector(arguments.model), Detector(arguments.model, lanes=arguments.lanes)
    images = list(itertools.islice(itertools.cycle(list_images(arguments.images)), arguments.count))
    batch = np.random.default_rng(0).random((arguments.batch, *detector.card.input_size, 3), np.float32)
    alone.engine(batch)
    ratios = []
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        for _ in range(arguments.count // arguments.batch):
            alone.engine(batch)
        bare = arguments.count // arguments.batch * arguments.batch / (time.perf_counter() - start)
        start = time.perf_counter()
        objects = sum(len(found) for _, found in detector.detect_many(images, arguments.batch))
        whole = len(images) / (time.perf_counter() - start)
        ratios.append(whole / bare)
        print(
            f"bare {bare:.1f}/s  whole {whole:.1f}/s  ratio {whole / bare:.3f}  ({objects} objects)",
            flush=True,
        )
    print(f"{detector.engine.name}: median ratio {statistics.median(ratios):.3f}")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in"
        source.mkdir()
        for index, image in enumerate(images):
            (source / f"{index:05d}{image.suffix}").symlink_to(image.resolve())
        for output in ("none", str(Path(folder) / "out")):
            command = [sys.executable, "-m", "lookonce", "detect", arguments.model, str(source)]
            start = time.perf_counter()
            subprocess.run([*command, "--output", output], check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - start
            drawn = "not drawn" if output == "none" else "drawn and written"
            print(f"whole command, {drawn}: {len(images) / seconds:.1f}/s with start")


if __name__ == "__main__":
    main()
