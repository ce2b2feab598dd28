"""yolov3-tiny at 416x416 with the same weights in each engine: milliseconds per batch, and who agrees.

Run:  .venv/bin/python benchmarks/engines.py [--rounds 10] [--batch 1] [--threads 0] [--int8 FILE.onnx]
Time: about a minute on two cores.
Expected on a quiet machine: OpenCV DNN takes at least 1.7 times as long as ONNX Runtime f32, the first.

OpenCV reads the Darknet cfg and weights themselves; OpenVINO takes part where it is installed, an int8
file where one is given (`lookonce export --int8`, of any weights). Each engine has a process of its own
and all take turns, so that neither spinning threads nor a busy neighbour fall on one of them alone; the
ratio is the median of the rounds' ratios. Largest difference is of the raw heads from ONNX Runtime's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

FIRST = "ONNX Runtime f32"
_PAUSE_SECONDS = 0.2
_CALLS = 10

Network = Callable[[np.ndarray], list[np.ndarray]]


def open_onnx(folder: Path, threads: int, engine: str = "onnx", file: str = "tiny.onnx") -> Network:
    from lookonce.inference.engines import start_engine

    return start_engine((folder / file).read_bytes(), engine, threads=threads, source=file)


def open_opencv(folder: Path, threads: int) -> Network:
    import cv2

    if threads:
        cv2.setNumThreads(threads)
    network = cv2.dnn.readNetFromDarknet(str(folder / "tiny.cfg"), str(folder / "tiny.weights"))
    # The convolutions before each yolo layer, so that all engines do the same work.
    heads = [name for name in network.getLayerNames() if name in ("conv_15", "conv_22")]

    def run(batch: np.ndarray) -> list[np.ndarray]:
        network.setInput(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
        return [head.transpose(0, 2, 3, 1) for head in network.forward(heads)]

    return run


ENGINES: dict[str, tuple[Callable[..., Network], tuple[str, ...]]] = {
    FIRST: (open_onnx, ()),
    "OpenCV DNN f32": (open_opencv, ()),
    "OpenVINO f32": (open_onnx, ("openvino",)),
    "OpenVINO bf16": (open_onnx, ("openvino-bf16",)),
    "ONNX Runtime int8": (open_onnx, ("onnx", "int8.onnx")),
}


def work(parent: Connection, name: str, folder: Path, threads: int, batch: int) -> None:
    """Open, warm up, send the heads of one batch; then answer each call with seconds per batch."""
    opener, arguments = ENGINES[name]
    run = opener(folder, threads, *arguments)
    images = np.random.default_rng(0).random((batch, 416, 416, 3), np.float32)
    for _ in range(3):
        heads = run(images)
    parent.send([np.array(head) for head in heads])
    while parent.recv():
        seconds = []
        for _ in range(_CALLS):
            begin = time.perf_counter()
            run(images)
            seconds.append(time.perf_counter() - begin)
        parent.send(seconds)


def make_model(folder: Path) -> None:
    from lookonce.darknet import random_weights, write_weights
    from lookonce.darknet.zoo import published
    from lookonce.export import export_onnx

    cfg = published("yolov3-tiny")
    (folder / "tiny.cfg").write_text(cfg.text)
    write_weights(folder / "tiny.weights", cfg, random_weights(cfg, 0))
    export_onnx(folder / "tiny.cfg", folder / "tiny.onnx", weights=folder / "tiny.weights")


def compare(names: list[str], folder: Path, threads: int, batch: int, rounds: int) -> None:
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    heads: dict[str, Any] = {}
    for name in names:
        pipes[name], theirs = context.Pipe()
        context.Process(target=work, args=(theirs, name, folder, threads, batch), daemon=True).start()
        theirs.close()
        heads[name] = pipes[name].recv()
    blocks: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            time.sleep(_PAUSE_SECONDS)
            pipes[name].send(True)
            blocks[name].append(pipes[name].recv())
    for pipe in pipes.values():
        pipe.send(False)
    print(f"{'':20} {'median':>9} {'fastest':>9} {'to the first':>13}   largest difference")
    medians = {name: [statistics.median(block) for block in blocks[name]] for name in names}
    for name in names:
        seconds = [value for block in blocks[name] for value in block]
        ratio = statistics.median(its / mine for mine, its in zip(medians[FIRST], medians[name], strict=True))
        apart = "" if name.endswith("int8") else f"{_largest_difference(heads[FIRST], heads[name]):.1e}"
        print(
            f"{name:20} {statistics.median(seconds) * 1000:6.1f} ms {min(seconds) * 1000:6.1f} ms "
            f"{ratio:13.2f}   {apart}"
        )


def _largest_difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(ours, theirs, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10, help="blocks of ten batches for each engine")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0 leaves their number to the engine")
    parser.add_argument("--int8", type=Path, help="a quantised yolov3-tiny of 416x416")
    arguments = parser.parse_args()
    names = [FIRST, "OpenCV DNN f32"]
    if find_spec("openvino"):
        names += ["OpenVINO f32", "OpenVINO bf16"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_model(folder)
        if arguments.int8:
            names.append("ONNX Runtime int8")
            (folder / "int8.onnx").write_bytes(arguments.int8.read_bytes())
        compare(names, folder, arguments.threads, arguments.batch, arguments.rounds)


if __name__ == "__main__":
    main()
