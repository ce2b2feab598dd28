"""From checked labels to what training needs: the input size, box sizes in it, anchors, samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import Geometry
from lookonce.darknet.anchors import Anchors, cluster_anchors
from lookonce.errors import LookonceError
from lookonce.io.images import read_image
from lookonce.labels import CheckedDataset
from lookonce.training.data.batches import Sample

# All models of the family halve five times.
STRIDE = 32


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


def box_sizes(
    checked: CheckedDataset, indices: Sequence[int], input_size: tuple[int, int], resize: str
) -> NDArray[np.float32]:
    """Widths and heights (n, 2) of all boxes, in pixels of the network's input."""
    sizes = [np.zeros((0, 2), np.float32)]
    for index in indices:
        record = checked.records[index]
        boxes = Geometry.fit(*record.size, input_size, resize).to_input(record.boxes)
        sizes.append(boxes[:, 2:] - boxes[:, :2])
    return np.concatenate(sizes)


def anchors_for(
    checked: CheckedDataset,
    indices: Sequence[int],
    input_size: tuple[int, int],
    resize: str,
    count: int,
    seed: int,
) -> Anchors:
    """Anchors of the images at `indices`, at the geometry that the network sees."""
    sizes = box_sizes(checked, indices, input_size, resize)
    if not len(sizes):
        raise LookonceError(
            f"{checked.dataset.root}: none of the {len(indices)} training images has a box. "
            "Label some objects, or choose another --train-split."
        )
    return cluster_anchors(sizes, count, seed)


def samples_of(checked: CheckedDataset, indices: Sequence[int]) -> list[Sample]:
    """The images at `indices` as training wants them."""
    records = [checked.records[index] for index in indices]
    return [Sample(partial(read_image, record.image), record.boxes, record.classes) for record in records]


def digest(checked: CheckedDataset, indices: Sequence[int]) -> str:
    """SHA-256 over names, boxes and classes: tells whether two runs saw the same labels."""
    state = hashlib.sha256("\n".join(checked.class_names).encode())
    for index in indices:
        record = checked.records[index]
        state.update(record.name.encode())
        state.update(record.boxes.tobytes() + record.classes.tobytes())
    return state.hexdigest()
