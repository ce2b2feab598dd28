"""Training batches, built by parallel workers while the device computes; the seed alone determines them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import xyxy_to_cxcywh
from lookonce.errors import LookonceError
from lookonce.io.images import read_image
from lookonce.labels import CheckedDataset
from lookonce.training.data.augment import Augmentation
from lookonce.training.data.mosaic import Part, compose
from lookonce.training.data.scales import BATCHES_A_SIZE, Epochs, scaled_sizes

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One labelled image: `read` gives uint8 RGB (h, w, 3); `boxes` (n, 4) xyxy px; `classes` (n,)."""

    read: Callable[[], NDArray[np.uint8]]
    boxes: Array
    classes: NDArray[np.int64]


class Batches(keras.utils.PyDataset):
    """Batches of images uint8 (batch, h, w, 3) and ground truth float32 (batch, most boxes, 5).

    A truth is cx, cy, w, h as fractions of the input, and the class; unused rows are all 0. Every batch is
    full (the last one borrows from the epoch's start), so that compilers see one shape. Image, order and
    augmentation depend on (seed, epoch, position) alone, never on which worker was first.

    `multi_scale` above 1 draws another input size every ten batches, up to that factor larger or smaller
    (Darknet's `random`). From epoch `closing_from` on, counted from 0, the size is the plain one and no
    image is made of several. `negatives` is the share of an epoch's images that have no boxes.
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
        closing_from: int | None = None,
        multi_scale: float = 1.0,
        negatives: float | None = None,
    ) -> None:
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=8)
        self.samples, self.batch_size = samples, batch_size
        self.input_size, self.resize, self.augmentation = input_size, resize, augmentation
        self.seed, self.epoch = seed, 0
        self.closing_from = closing_from
        self.sizes = scaled_sizes(input_size, multi_scale)
        self.epochs = Epochs([len(sample.boxes) for sample in samples], negatives, seed)
        self.most_boxes = _most_boxes([len(sample.boxes) for sample in samples], augmentation)
        # What a worker met: backends wrap exceptions beyond recognition.
        self.error: LookonceError | None = None
        self._cache: dict[int, NDArray[np.uint8]] = {}
        self._cache_left = cache_bytes

    def __len__(self) -> int:
        return -(-len(self.epochs) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], Array]:
        order, size = self.epochs.order(self.epoch), self.size_of(number)
        positions = np.arange(number * self.batch_size, (number + 1) * self.batch_size)
        images = np.empty((self.batch_size, *size, 3), np.uint8)
        truths = np.zeros((self.batch_size, self.most_boxes, 5), np.float32)
        try:
            for row, position in enumerate(positions):
                index = int(order[position % len(order)])
                rng = np.random.default_rng([self.seed, self.epoch, int(position)])
                images[row], truths[row] = self._make(index, rng, size)
        except LookonceError as error:
            self.error = error
            raise
        return images, truths

    def size_of(self, number: int) -> tuple[int, int]:
        """Return the input size (height, width) of a batch of this epoch."""
        if len(self.sizes) == 1 or self.closing:
            return self.input_size
        drawn = (self.epoch * len(self) + number) // BATCHES_A_SIZE
        return self.sizes[int(np.random.default_rng([self.seed, drawn]).integers(len(self.sizes)))]

    def of_one_size(self) -> Iterator[keras.utils.PyDataset]:
        """Yield this epoch's batches in pieces of one image size; Keras accepts no others."""
        start = 0
        for number in range(1, len(self) + 1):
            if number == len(self) or self.size_of(number) != self.size_of(start):
                yield self if number - start == len(self) else _Piece(self, start, number)
                start = number

    @property
    def mixes_images(self) -> bool:
        """Whether some images are composed of several: mosaic or mixup."""
        return self.augmentation.mosaic > 0 or self.augmentation.mixup > 0

    @property
    def closing(self) -> bool:
        """Whether this epoch is one of the closing ones."""
        return self.closing_from is not None and self.epoch >= self.closing_from

    def _make(
        self, index: int, rng: np.random.Generator, size: tuple[int, int]
    ) -> tuple[NDArray[np.uint8], Array]:
        how = self.augmentation
        if self.closing:
            how = replace(how, mosaic=0.0, mixup=0.0)
        image, boxes, classes = compose(self._part(index), self._pick, rng, size, self.resize, how)
        height, width = size
        truths = np.zeros((self.most_boxes, 5), np.float32)
        if len(boxes) > self.most_boxes:
            some = rng.choice(len(boxes), self.most_boxes, replace=False)
            boxes, classes = boxes[some], classes[some]
        kept = xyxy_to_cxcywh(boxes) / np.array([width, height] * 2, np.float32)
        truths[: len(kept), :4], truths[: len(kept), 4] = kept, classes
        return image, truths

    def _part(self, index: int) -> Part:
        sample = self.samples[index]
        return self._image(index), sample.boxes, sample.classes

    def _pick(self, rng: np.random.Generator) -> Part:
        return self._part(int(rng.integers(len(self.samples))))

    def _image(self, index: int) -> NDArray[np.uint8]:
        found = self._cache.get(index)
        if found is None:
            found = self.samples[index].read()
            if found.nbytes <= self._cache_left:
                self._cache_left -= found.nbytes
                self._cache[index] = found
        return found

    def __reduce__(self) -> Any:
        raise TypeError(
            "Batches share their image cache between threads; they are not sent to other processes"
        )


class _Piece(keras.utils.PyDataset):
    """Batches `start` to `end` of an epoch."""

    def __init__(self, whole: Batches, start: int, end: int) -> None:
        super().__init__(
            workers=whole.workers, use_multiprocessing=False, max_queue_size=whole.max_queue_size
        )
        self.whole, self.start, self.end = whole, start, end

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], Array]:
        return self.whole[self.start + number]


def _most_boxes(counts: Sequence[int], how: Augmentation) -> int:
    """Return the number of ground-truth rows: the most of any image, or what four (or eight) images rarely exceed."""
    most = max(counts, default=0)
    if how.mosaic and counts:
        # Four windows show about as much as one image; dense ones among them more.
        most = max(most, int(1.5 * most))
    if how.mixup:
        most *= 2
    return max(8, most)


def samples_of(checked: CheckedDataset, indices: Sequence[int]) -> list[Sample]:
    """Return the samples of the images at `indices`."""
    records = [checked.records[index] for index in indices]
    return [Sample(partial(read_image, record.image), record.boxes, record.classes) for record in records]
