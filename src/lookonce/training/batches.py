"""Training batches, made by parallel workers while the device computes; only the seed decides their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lookonce.boxes import xyxy_to_cxcywh
from lookonce.errors import LookonceError
from lookonce.training.augment import Augmentation, augment

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One labelled picture: `read` gives uint8 RGB (h, w, 3); `boxes` (n, 4) xyxy px; `classes` (n,)."""

    read: Callable[[], NDArray[np.uint8]]
    boxes: Array
    classes: NDArray[np.int64]


class Batches(keras.utils.PyDataset):
    """Pairs (images uint8 (batch, h, w, 3), truths float32 (batch, most boxes, 5)); an item is one batch.

    A truth is cx, cy, w, h as fractions of the input, and the class; unused rows are all 0. Every batch is
    full (the last one borrows from the epoch's start), so that compilers see one shape. Picture, order and
    augmentation depend on (seed, epoch, position) alone, never on which worker was first.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        batch_size: int,
        input_size: tuple[int, int],
        resize: str,
        augmentation: Augmentation,
        seed: int,
        cache_bytes: int = 2 << 30,
        workers: int = 2,
    ) -> None:
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=8)
        self.samples, self.batch_size = samples, batch_size
        self.input_size, self.resize, self.augmentation = input_size, resize, augmentation
        self.seed, self.epoch = seed, 0
        self.most_boxes = max(8, max((len(sample.boxes) for sample in samples), default=0))
        # What a worker met: backends wrap exceptions beyond recognition.
        self.error: LookonceError | None = None
        self._cache: dict[int, NDArray[np.uint8]] = {}
        self._cache_left = cache_bytes

    def __len__(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], Array]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.samples))
        positions = np.arange(number * self.batch_size, (number + 1) * self.batch_size)
        images = np.empty((self.batch_size, *self.input_size, 3), np.uint8)
        truths = np.zeros((self.batch_size, self.most_boxes, 5), np.float32)
        try:
            for row, position in enumerate(positions):
                index = int(order[position % len(order)])
                rng = np.random.default_rng([self.seed, self.epoch, int(position)])
                images[row], truths[row] = self._make(index, rng)
        except LookonceError as error:
            self.error = error
            raise
        return images, truths

    def _make(self, index: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Array]:
        sample = self.samples[index]
        image, boxes, keep = augment(
            self._picture(index), sample.boxes, rng, self.input_size, self.resize, self.augmentation
        )
        height, width = self.input_size
        truths = np.zeros((self.most_boxes, 5), np.float32)
        kept = xyxy_to_cxcywh(boxes[keep]) / np.array([width, height] * 2, np.float32)
        truths[: len(kept), :4], truths[: len(kept), 4] = kept, sample.classes[keep]
        return image, truths

    def _picture(self, index: int) -> NDArray[np.uint8]:
        found = self._cache.get(index)
        if found is None:
            found = self.samples[index].read()
            if found.nbytes <= self._cache_left:
                self._cache_left -= found.nbytes
                self._cache[index] = found
        return found

    def __reduce__(self) -> Any:
        raise TypeError(
            "Batches share their picture cache between threads; they are not sent to other processes"
        )
