"""Distributed detection: split the images into parts, process and write each part in a Ray worker."""

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

# Few enough to lose little work with a worker, enough to make the cost of writing a part negligible.
PART_IMAGES = 256
# Ray alone would restart dead workers and repeat their parts without limit.
RETRIES = 5


@dataclass(frozen=True)
class Summary:
    """The result of a run; `already_done` images were processed by earlier runs into the same folder."""

    images: int
    objects: int
    rejects: int
    already_done: int
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
    """Detect objects in every image of `source`; write Parquet parts below `output`. Resumable.

    Args:
        graph: content of an ONNX file with its card (`lookonce.models.open.open_graph`).
        source: folder or fsspec address of the images, reachable from all workers.
        output: folder or fsspec address of the results, reachable from all workers.
        conf: minimum score.
        iou: NMS threshold.
        device: "auto", "cpu", or "cuda" or "tensorrt" for one GPU per worker.
        threads: cores per worker; 0: one.
        batch: images per network run.
        address: Ray cluster; None starts Ray on this machine for the run.
        workers: number of workers; None: as many as fit.
        part_images: images per part; a resumed run keeps its original value.
        retries: how often a part is repeated when its worker dies.
        progress: called with the number of finished images and of all images.

    Raises:
        LookonceError: on any failure; running again continues where it stopped.
    """
    started = time.perf_counter()
    if batch < 1 or part_images < 1:
        raise LookonceError(f"batch is {batch}, part_images is {part_images}; expected 1 or more.")
    # Opened here first, to report errors of the model before starting Ray.
    Detector.from_graph(graph, conf, iou, threads=1)
    folder, keys = list_keys(source)
    parts = Parts(output)
    run = {"model_sha256": _identity(graph), "conf": conf, "iou": iou, "source": folder.name}
    size = parts.claim(run, part_images)
    done = parts.done()
    remaining = [key for key in keys if key not in done]
    objects = rejects = finished = 0
    if remaining:
        # Ray hides GPUs from workers that did not request one.
        worker_device = "cpu" if device == "auto" else device
        job = Job(folder, parts, conf, iou, worker_device, threads or 1, batch)
        with ray_session(address, len(graph)):
            cut = [remaining[start : start + size] for start in range(0, len(remaining), size)]
            for tally in _tallies(job, graph, cut, workers, retries):
                finished += tally["images"]
                objects += tally["objects"]
                rejects += tally["rejects"]
                progress(finished, len(remaining))
    parts.clear_leftovers()
    return Summary(finished, objects, rejects, len(keys) - len(remaining), time.perf_counter() - started)


def _identity(graph: bytes) -> str:
    """Hash the parts of a model that determine its detections; dates in its card are left out."""
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
    """Yield the tally of each part once, in order of completion. Raises LookonceError."""
    import ray
    import ray.data

    gpus = 0 if job.device == "cpu" else 1
    most = min(workers or _most_workers(job.threads, gpus), len(parts))
    tables = ray.data.from_items(
        [{"keys": keys} for keys in parts], override_num_blocks=len(parts)
    ).map_batches(
        Worker,
        # In a list: Ray would otherwise resolve the reference, which fails when a worker restarts.
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
        # An internal error: keep its traceback.
        raise
    except ray.exceptions.RayError as error:
        first = str(error).strip().partition("\n")[0]
        raise LookonceError(
            f"workers cannot start or continue ({first}). Check that they have this version of lookonce and "
            "the package that reads the store; the same command resumes the run."
        ) from error


def _most_workers(threads: int, gpus: int) -> int:
    import ray

    resources = ray.cluster_resources()
    most = int(resources.get("CPU", 0) // threads)
    if gpus:
        most = min(most, int(resources.get("GPU", 0)))
    if most < 1:
        raise LookonceError(
            f"a worker needs {threads} cores{' and a GPU' if gpus else ''}; Ray has "
            f"{resources.get('CPU', 0):g} cores and {resources.get('GPU', 0):g} GPUs. Lower --threads, or "
            "choose another --device."
        )
    return most


def _refuse_own_disk(output: Parts, part: str) -> None:
    """Raise LookonceError if a machine of the cluster wrote to a local disk."""
    if not output.has(part):
        raise LookonceError(
            f"{output.address}: what a worker wrote there is not visible here: it is a local disk. Choose an "
            "output folder that all machines share, or an address such as s3://bucket/folder."
        )
