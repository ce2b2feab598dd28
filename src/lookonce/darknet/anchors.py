"""Anchors: k-means over box sizes, distance 1 - IoU (YOLO9000, section 2, "Dimension Clusters")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import centred_iou
from lookonce.errors import LookonceError
from lookonce.labels import CheckedDataset

# All models of the family halve five times.
STRIDE = 32

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Anchors:
    """`sizes` (k, 2) float32 widths and heights in network-input pixels, smallest area first."""

    sizes: Array
    average_iou: float

    def to_text(self) -> str:
        """`w,h,  w,h, ...` on one line, as Darknet's cfg and custom_anchors.txt have them."""
        return ",  ".join(f"{width:g},{height:g}" for width, height in self.sizes)


def cluster_anchors(sizes: Array, count: int, seed: int = 0, restarts: int = 10) -> Anchors:
    """Cluster box sizes (n, 2) in network-input pixels into `count` anchors.

    k-means++ start, `restarts` seeded tries, the best average IoU wins. Raises LookonceError when `count` is
    below 1 or there are fewer distinct sizes than that.
    """
    sizes = np.asarray(sizes, np.float32)
    if count < 1:
        raise LookonceError(
            f"--num-clusters is {count}; a detector needs at least 1 anchor (6 is usual for tiny models)."
        )
    distinct = len(np.unique(sizes, axis=0))
    if distinct < count:
        raise LookonceError(
            f"--num-clusters is {count}, but the labels hold only {distinct} distinct box sizes. "
            f"Use --num-clusters {max(distinct, 1)} or label more objects."
        )
    rng = np.random.default_rng(seed)
    best = max(
        (_cluster_once(sizes, count, rng) for _ in range(restarts)), key=lambda found: found.average_iou
    )
    # Cents of a pixel: the cfg and custom_anchors.txt must say exactly what training used.
    rounded = np.maximum(np.round(best.sizes, 2), 0.01).astype(np.float32)
    rounded = rounded[np.argsort(rounded.prod(axis=1), kind="stable")]
    return Anchors(rounded, average_best_iou(sizes, rounded))


def average_best_iou(sizes: Array, anchors: Array) -> float:
    """Mean over boxes of the centred IoU with the best anchor."""
    return float(centred_iou(sizes, anchors).max(axis=1).mean())


def _cluster_once(sizes: Array, count: int, rng: np.random.Generator) -> Anchors:
    centres = _plus_plus_start(sizes, count, rng)
    owner = np.full(len(sizes), -1)
    for _ in range(300):
        overlap = centred_iou(sizes, centres)
        new_owner = overlap.argmax(axis=1)
        # A cluster that lost all its boxes takes the box that is served worst.
        for empty in np.setdiff1d(np.arange(count), new_owner):
            worst = int(overlap[np.arange(len(sizes)), new_owner].argmin())
            new_owner[worst], overlap[worst] = empty, 1.0
        if np.array_equal(owner, new_owner):
            break
        owner = new_owner
        centres = np.stack([np.median(sizes[owner == cluster], axis=0) for cluster in range(count)])
    return Anchors(centres, average_best_iou(sizes, centres))


def _plus_plus_start(sizes: Array, count: int, rng: np.random.Generator) -> Array:
    """Centres far apart: each next one drawn with probability proportional to its squared distance."""
    centres = sizes[rng.integers(len(sizes))][None]
    while len(centres) < count:
        squared = np.clip(1 - centred_iou(sizes, centres).max(axis=1), 0, None).astype(np.float64) ** 2
        centres = np.concatenate([centres, sizes[rng.choice(len(sizes), p=squared / squared.sum())][None]])
    return centres


def anchors_for(
    checked: CheckedDataset,
    indices: Sequence[int],
    input_size: tuple[int, int],
    resize: str,
    count: int,
    seed: int,
) -> Anchors:
    """Anchors of the images at `indices`, at the geometry that the network sees."""
    sizes = checked.box_sizes(indices, input_size, resize)
    if not len(sizes):
        raise LookonceError(
            f"{checked.dataset.root}: none of the {len(indices)} training images has a box. "
            "Label some objects, or choose another --train-split."
        )
    return cluster_anchors(sizes, count, seed)


def choose_size(
    wanted: int | tuple[int, int] | None, checked: CheckedDataset, longest: int
) -> tuple[int, int]:
    """Input (height, width): `wanted`, or `longest` on the longer side and the images' median shape."""
    if wanted is not None:
        size = (wanted, wanted) if isinstance(wanted, int) else wanted
        if min(size) < STRIDE or any(side % STRIDE for side in size):
            nearest = "x".join(str(max(STRIDE, round(side / STRIDE) * STRIDE)) for side in size)
            raise LookonceError(
                f"--size is {size[0]}x{size[1]}; both sides must be multiples of 32. Try {nearest}."
            )
        return size
    shapes = [width / height for width, height in (record.size for record in checked.records)]
    aspect = float(np.median(shapes))
    shorter = max(STRIDE, round(longest * min(aspect, 1 / aspect) / STRIDE) * STRIDE)
    return (shorter, longest) if aspect >= 1 else (longest, shorter)
