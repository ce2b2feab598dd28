"""Detection by Ray: the images in parts, a model a worker, each part written by who made it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lookonce.core.model_card import CARD_KEY
from lookonce.errors import LookonceError
from lookonce.inference import Detector
from lookonce.inference.ray.cluster import ray_session
from lookonce.inference.ray.folders import list_keys
from lookonce.inference.ray.parts import Parts
from lookonce.inference.ray.worker import Job, Worker, attempts_actor

# Few enough to lose little with a worker, enough that a part's writing costs nothing beside them.
PART_IMAGES = 256
# Ray itself starts a dead worker again, and gives it its part again, without end.
RETRIES = 5


@dataclass(frozen=True)
class Summary:
    """What a run did; `before` images were done by earlier runs into the same folder."""

    images: int
    objects: int
    rejects: int
    before: int
    seconds: float


def detect_fleet(
    graph: bytes,
    source: str,
    output: str,
    *,
    conf: float = 0.3,
    iou: float = 0.45,
    device: str = "auto",
    threads: int = 0,
    batch: int = 8,
    address: str | None = None,
    workers: int | None = None,
    part_images: int = PART_IMAGES,
    retries: int = RETRIES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Detect in every image of `source` and write Parquet parts below `output`, going on where one stopped.

    `graph` is an ONNX file's content, card inside (`lookonce.models.open.open_graph`). `source` and
    `output` are folders or fsspec addresses that all workers reach. A worker takes one core, or `threads`,
    and with `device` "cuda" or "tensorrt" a GPU; there are `workers`, or as many as find room. `address`
    names a Ray cluster; None starts one on this machine for the run. Every image is tables at once: a part
    whose worker dies is made again, under the same name, up to `retries` times. Parts have `part_images`;
    those of a run that goes on have what it began with. Raises LookonceError.
    """
    started = time.perf_counter()
    if batch < 1 or part_images < 1:
        raise LookonceError(f"--batch is {batch}, parts have {part_images}; expected 1 or more.")
    # Opened here first: what is wrong with the model is reported before anything starts.
    Detector.from_graph(graph, conf, iou, threads=1)
    folder, keys = list_keys(source)
    parts = Parts(output)
    run = {"model_sha256": _identity(graph), "conf": conf, "iou": iou, "source": folder.name}
    size = parts.claim(run, part_images)
    done = parts.done()
    left = [key for key in keys if key not in done]
    objects = rejects = finished = 0
    if left:
        # Ray hides GPUs from a worker that has not asked for one.
        on = "cpu" if device == "auto" else device
        job = Job(folder, parts, conf, iou, on, threads or 1, batch)
        with ray_session(address, len(graph)):
            cut = [left[start : start + size] for start in range(0, len(left), size)]
            for tally in _tallies(job, graph, cut, workers, retries):
                finished += tally["images"]
                objects += tally["objects"]
                rejects += tally["rejects"]
                progress(finished, len(left))
    parts.clear_leftovers()
    return Summary(finished, objects, rejects, len(keys) - len(left), time.perf_counter() - started)


def _identity(graph: bytes) -> str:
    """A hash of what decides a model's answers; not of dates, which differ between copies of its files."""
    import onnx

    model = onnx.load_from_string(graph)
    for entry in model.metadata_props:
        if entry.key == CARD_KEY:
            card = json.loads(entry.value)
            kept = {key: card[key] for key in ("classes", "input_size", "resize", "cfg")}
            entry.value = json.dumps(kept, sort_keys=True)
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def _tallies(
    job: Job, graph: bytes, parts: list[list[str]], workers: int | None, retries: int
) -> Iterator[dict[str, Any]]:
    """What came of each part, in the order of their ends; of each once. Raises LookonceError."""
    import ray
    import ray.data

    gpus = 0 if job.device == "cpu" else 1
    most = min(workers or _most_workers(job.threads, gpus), len(parts))
    tables = ray.data.from_items(
        [{"keys": keys} for keys in parts], override_num_blocks=len(parts)
    ).map_batches(
        Worker,
        # The reference in a list: Ray would otherwise fetch it before a worker that starts again has it.
        fn_constructor_args=(job, [ray.put(graph)], attempts_actor(most, retries)),
        batch_size=1,
        batch_format="pyarrow",
        concurrency=most,
        num_cpus=job.threads,
        num_gpus=gpus,
    )
    reported: set[str] = set()
    nodes: set[str] = set()
    try:
        for table in tables.iter_batches(batch_size=None, batch_format="pyarrow"):
            for tally in table.to_pylist():
                if tally["error"]:
                    raise LookonceError(tally["error"])
                if tally["node"] not in nodes:
                    _refuse_own_disk(job.output, tally["part"])
                    nodes.add(tally["node"])
                if tally["part"] not in reported:
                    reported.add(tally["part"])
                    yield tally
    except ray.exceptions.RayTaskError:
        # A fault of ours: with its traceback.
        raise
    except ray.exceptions.RayError as error:
        first = str(error).strip().partition("\n")[0]
        raise LookonceError(
            f"workers can't start or go on ({first}). Do they lack this version of lookonce, or the package "
            "that reads the store? The same command goes on where it stopped."
        ) from error


def _most_workers(threads: int, gpus: int) -> int:
    import ray

    resources = ray.cluster_resources()
    most = int(resources.get("CPU", 0) // threads)
    if gpus:
        most = min(most, int(resources.get("GPU", 0)))
    if most < 1:
        raise LookonceError(
            f"a worker takes {threads} cores{' and a GPU' if gpus else ''}; Ray has "
            f"{resources.get('CPU', 0):g} cores and {resources.get('GPU', 0):g} GPUs. Lower --threads, or "
            "choose another --device."
        )
    return most


def _refuse_own_disk(output: Parts, part: str) -> None:
    """Raise LookonceError where a machine of the cluster has written to a disk that only it sees."""
    if not output.has(part):
        raise LookonceError(
            f"{output.address}: a worker has written there, yet nothing is seen of it here: a disk of its "
            "own. Give --output a folder that all machines share, or an address such as s3://bucket/folder."
        )
