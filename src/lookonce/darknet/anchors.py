"""Anchors: k-means over box sizes, distance 1 - IoU (YOLO9000, section 2, "Dimension Clusters")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import centred_iou
from lookonce.errors import LookonceError
from lookonce.labels import CheckedDataset

# Every model of the family halves its input five times.
STRIDE = 32

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Anchors:
    """Anchor sizes and how well they fit.

    Args:
        sizes: float32 (k, 2), widths and heights in network-input pixels, smallest area first.
        average_iou: mean IoU of each box with its best anchor.
    """

    sizes: Array
    average_iou: float

    def to_text(self) -> str:
        """Return `w,h,  w,h, ...` on one line, the form of Darknet's cfg and custom_anchors.txt."""
        return ",  ".join(f"{width:g},{height:g}" for width, height in self.sizes)


def cluster_anchors(sizes: Array, count: int, seed: int = 0, restarts: int = 10) -> Anchors:
    """Cluster box sizes into anchors by k-means on IoU, and keep the best of several seeded runs.

    Args:
        sizes: float32 (n, 2), widths and heights in network-input pixels.
        count: number of anchors.
        seed: equal seeds give equal anchors.
        restarts: number of k-means++ starts; the best average IoU is kept.

    Raises:
        LookonceError: `count` is below 1, or above the number of distinct sizes.

    Example:
        >>> anchors = cluster_anchors([[10, 10], [12, 10], [100, 60], [104, 60]], count=2)
        >>> anchors.to_text(), round(anchors.average_iou, 2)
        ('11,10,  102,60', 0.95)
    """
    sizes = np.asarray(sizes, np.float32)
    if count < 1:
        raise LookonceError(
            f"{count} anchors requested; a detector needs at least 1 (6 is usual for tiny models)."
        )
    distinct = len(np.unique(sizes, axis=0))
    if distinct < count:
        raise LookonceError(
            f"{count} anchors requested, but the labels have only {distinct} distinct box sizes. "
            f"Use {max(distinct, 1)} anchors or label more objects."
        )
    rng = np.random.default_rng(seed)
    best = max((_cluster_once(sizes, count, rng) for _ in range(restarts)), key=lambda one: one.average_iou)
    # Hundredths of a pixel: the cfg and custom_anchors.txt must hold exactly what training used.
    rounded = np.maximum(np.round(best.sizes, 2), 0.01).astype(np.float32)
    rounded = rounded[np.argsort(rounded.prod(axis=1), kind="stable")]
    return Anchors(rounded, average_best_iou(sizes, rounded))


def average_best_iou(sizes: Array, anchors: Array) -> float:
    """Return the mean over boxes (n, 2) of the IoU with the best of `anchors` (k, 2), around one centre."""
    return float(centred_iou(sizes, anchors).max(axis=1).mean())


def _cluster_once(sizes: Array, count: int, rng: np.random.Generator) -> Anchors:
    centres = _plus_plus_start(sizes, count, rng)
    owner = np.full(len(sizes), -1)
    for _ in range(300):
        overlap = centred_iou(sizes, centres)
        new_owner = overlap.argmax(axis=1)
        # A cluster without boxes takes the box with the worst fit.
        for empty in np.setdiff1d(np.arange(count), new_owner):
            worst = int(overlap[np.arange(len(sizes)), new_owner].argmin())
            new_owner[worst], overlap[worst] = empty, 1.0
        if np.array_equal(owner, new_owner):
            break
        owner = new_owner
        centres = np.stack([np.median(sizes[owner == cluster], axis=0) for cluster in range(count)])
    return Anchors(centres, average_best_iou(sizes, centres))


def _plus_plus_start(sizes: Array, count: int, rng: np.random.Generator) -> Array:
    """Draw distant centres, each with probability proportional to its squared distance (k-means++)."""
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
    """Cluster the boxes of the images at `indices`, at the geometry of the network's input."""
    sizes = checked.box_sizes(indices, input_size, resize)
    if not len(sizes):
        raise LookonceError(
            f"{checked.dataset.root}: none of the {len(indices)} training images has a box. "
            "Label some objects, or choose another split."
        )
    return cluster_anchors(sizes, count, seed)


def choose_size(
    requested: int | tuple[int, int] | None, checked: CheckedDataset, longest: int
) -> tuple[int, int]:
    """Return the input (height, width): `requested`, or `longest` by the images' median aspect ratio."""
    if requested is not None:
        size = (requested, requested) if isinstance(requested, int) else requested
        if min(size) < STRIDE or any(side % STRIDE for side in size):
            nearest = "x".join(str(max(STRIDE, round(side / STRIDE) * STRIDE)) for side in size)
            raise LookonceError(
                f"the input size is {size[0]}x{size[1]}; both sides must be multiples of 32. Try {nearest}."
            )
        return size
    shapes = [width / height for width, height in (record.size for record in checked.records)]
    aspect = float(np.median(shapes))
    shorter = max(STRIDE, round(longest * min(aspect, 1 / aspect) / STRIDE) * STRIDE)
    return (shorter, longest) if aspect >= 1 else (longest, shorter)
