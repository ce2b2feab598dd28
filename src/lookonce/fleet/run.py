"""Detection by Ray: the pictures in parts, a model a worker, each part written by who made it."""

from __future__ import annotations

import hashlib
import os
import posixpath
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fsspec

from lookonce.errors import LookonceError
from lookonce.fleet.parts import Parts
from lookonce.inference import Detector
from lookonce.pictures import SUFFIXES, PictureError, decode_picture

# Few enough to lose little with a worker, enough that a part's writing costs nothing beside them.
PART_PICTURES = 256


@dataclass(frozen=True)
class Summary:
    """What a run did; `before` pictures were done by earlier runs into the same folder."""

    pictures: int
    objects: int
    rejects: int
    before: int
    seconds: float


def list_keys(source: str) -> tuple[str, list[str]]:
    """The root of `source`, a folder, a pattern, or such an address, and its pictures below it, sorted.

    Raises LookonceError when there is none.
    """
    files, path = fsspec.core.url_to_fs(source)
    if "*" in path:
        found = files.glob(path)
        root = posixpath.dirname(path.split("*")[0])
    else:
        found, root = files.find(path), path.rstrip("/")
    keys = sorted(
        posixpath.relpath(one, root) for one in found if posixpath.splitext(one)[1].lower() in SUFFIXES
    )
    if not keys:
        raise LookonceError(f"{source}: no pictures there ({', '.join(sorted(SUFFIXES))}).")
    protocol = files.protocol if isinstance(files.protocol, str) else files.protocol[0]
    return (root if protocol == "file" else f"{protocol}://{root}"), keys


def detect_fleet(
    graph: bytes,
    source: str,
    output: str,
    *,
    conf: float = 0.3,
    iou: float = 0.45,
    address: str | None = None,
    workers: int | None = None,
    part_pictures: int = PART_PICTURES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Detect in every picture of `source` and write Parquet parts below `output`, going on where one stopped.

    `graph` is an ONNX file's content, card inside (`lookonce.inference.opening.open_graph`). `source` and
    `output` are folders or fsspec addresses that all workers reach. `address` names a Ray cluster; None
    starts one on this machine for the run. Every picture is looked at once: a part whose worker dies is
    made again, under the same name. Raises LookonceError.
    """
    started = time.perf_counter()
    root, keys = list_keys(source)
    parts = Parts(output)
    parts.claim({"model_sha256": hashlib.sha256(graph).hexdigest(), "conf": conf, "iou": iou, "source": root})
    done = parts.done()
    left = [key for key in keys if key not in done]
    objects = rejects = finished = 0
    if left:
        with _cluster(address) as ray:
            count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            # Held here, in a list: a worker that is started again must still find it.
            held = ray.put(graph)
            data = ray.data.from_items(
                [
                    {"part": left[start : start + part_pictures]}
                    for start in range(0, len(left), part_pictures)
                ],
                override_num_blocks=-(-len(left) // part_pictures),
            )
            seen = data.map_batches(
                _Worker,
                batch_size=1,
                concurrency=(1, min(count, -(-len(left) // part_pictures))),
                num_cpus=1,
                fn_constructor_args=([held], root, output, conf, iou),
            )
            for row in seen.iter_rows():
                finished += row["pictures"]
                objects += row["objects"]
                rejects += row["rejects"]
                progress(finished, len(left))
    return Summary(finished, objects, rejects, len(keys) - len(left), time.perf_counter() - started)


class _Worker:
    """One process: the model is opened once, and every part it gets is written before it answers."""

    def __init__(self, graph: list[Any], root: str, output: str, conf: float, iou: float) -> None:
        import ray

        (content,) = ray.get(graph)
        self._detector = Detector.from_graph(content, conf, iou, threads=1)
        self._files, self._root = fsspec.core.url_to_fs(root)
        self._parts = Parts(output)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        pictures = objects = rejects = 0
        for keys in batch["part"]:
            answers = [(str(key), self._look(str(key))) for key in keys]
            found, refused = self._parts.write(answers)
            pictures, objects, rejects = pictures + len(answers), objects + found, rejects + refused
        return {"pictures": [pictures], "objects": [objects], "rejects": [rejects]}

    def _look(self, key: str) -> Any:
        try:
            content = self._files.cat_file(posixpath.join(self._root, key))
            return self._detector.detect(decode_picture(content, key))
        except (PictureError, OSError) as error:
            return str(error)


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected; one that was started here is stopped at the end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A worker's end is this program's business, and reported by the parts that are missing.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import logging

        import ray
        import ray.data
    except ImportError as error:
        raise LookonceError("the engine ray isn't installed: pip install 'lookonce[ray]'") from error
    try:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(**quiet, **({"address": address} if address else {"include_dashboard": False}))
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise LookonceError(f"--address {address}: no Ray cluster answers there ({first}).") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()
