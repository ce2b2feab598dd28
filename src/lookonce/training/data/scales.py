"""Input sizes that vary between batches, and the images of each epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# As Darknet's train_detector: `if (get_current_batch(net) % 10 == 0)`.
BATCHES_A_SIZE = 10
STRIDE = 32


def scaled_sizes(input_size: tuple[int, int], factor: float) -> tuple[tuple[int, int], ...]:
    """Return the input sizes (height, width) from 1 / `factor` to `factor`, in steps of 32 on the longer side.

    The shape is kept as well as multiples of 32 allow; there is a compiled network for each.
    """
    longest = max(input_size)
    first, last = (round(longest * by / STRIDE) for by in (1 / factor, factor))
    sizes = []
    for steps in range(max(1, first), last + 1):
        scale = steps * STRIDE / longest
        height, width = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in input_size)
        sizes.append((height, width))
    return tuple(sizes) if factor > 1 else (input_size,)


class Epochs:
    """The samples of each epoch and their order; `boxes` is the number of boxes of each sample."""

    def __init__(self, boxes: Sequence[int], negatives: float | None, seed: int) -> None:
        counts = np.asarray(boxes, np.int64)
        self.seed = seed
        self.always, self.drawn = np.arange(len(counts)), np.zeros(0, np.int64)
        self.count = 0
        if negatives is not None and (counts > 0).any():
            self.always, self.drawn = np.flatnonzero(counts > 0), np.flatnonzero(counts == 0)
            wanted = negatives / max(1e-9, 1 - negatives) * len(self.always)
            self.count = min(len(self.drawn), round(min(wanted, len(counts))))

    def __len__(self) -> int:
        return len(self.always) + self.count

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the indices of the samples of `epoch`; those without boxes are drawn anew for each."""
        rng = np.random.default_rng([self.seed, epoch])
        if not self.count:
            return rng.permutation(self.always)
        some = rng.choice(self.drawn, self.count, replace=False)
        return rng.permutation(np.concatenate([self.always, some]))
