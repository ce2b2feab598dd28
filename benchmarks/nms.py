"""Time NMS against OpenCV's batched NMS, turn by turn, and count differing results.

python benchmarks/nms.py
"""

from __future__ import annotations

import time
from typing import Any, cast

import cv2
import numpy as np

from lookonce.inference.nms import nms

COUNTS = (20, 100, 300, 1000, 3000, 10_000)
IOU = 0.45


def candidates(count: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Return boxes (n, 4) as shares of an image, scores and three classes, six boxes around each object."""
    objects = max(1, count // 6)
    which = rng.integers(0, objects, count)
    centres = rng.random((objects, 2))[which] + rng.normal(0, 0.01, (count, 2))
    sizes = np.exp(rng.normal(-2.5, 0.5, (objects, 2)))[which] * np.exp(rng.normal(0, 0.1, (count, 2)))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)
    return boxes, rng.random(count).astype(np.float32), rng.integers(0, 3, count)


def opencv(boxes: Any, scores: Any, classes: Any) -> Any:
    """Return the indices that cv2.dnn.NMSBoxesBatched keeps."""
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)
    labels = cast(Any, classes.astype(np.int32))
    return np.asarray(cv2.dnn.NMSBoxesBatched(cast(Any, corners), scores, labels, -np.inf, IOU))


def main() -> None:
    """Print medians in milliseconds for each count."""
    rng = np.random.default_rng(0)
    print("boxes  kept  lookonce ms  greedynms ms  OpenCV ms  differing runs")
    for count in COUNTS:
        ours, greedy, theirs, differing = [], [], [], 0
        for _ in range(20 if count < 3000 else 5):
            case = candidates(count, rng)
            began = time.perf_counter()
            kept = nms(*case, IOU)
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            nms(*case, IOU, "greedynms")
            greedy.append(time.perf_counter() - began)
            began = time.perf_counter()
            other = opencv(*case)
            theirs.append(time.perf_counter() - began)
            differing += not np.array_equal(kept, other)
        times = [1000 * float(np.median(one)) for one in (ours, greedy, theirs)]
        print(f"{count:5d} {len(kept):5d} {times[0]:12.3f} {times[1]:13.3f} {times[2]:10.3f} {differing:15d}")


if __name__ == "__main__":
    main()
