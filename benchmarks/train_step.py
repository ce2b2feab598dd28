"""What the input pipeline and the loss cost on top of the bare training step.

Run:  .venv/bin/python benchmarks/train_step.py DATA [--model yolov3-tiny|FILE.cfg] [--bs 8] [--rounds 5]
Time: about a minute and a half on two cores for 5 rounds of yolov3-tiny at 416x320.

Bare: one batch that stays in memory, the heads' mean as the loss, same optimizer. Whole: images from disk
(cached after the first epoch, as in training), augmented, with the YOLO loss. Both run through the same Keras
`fit`, turn by turn in one process; the figure is the median of the pairwise ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time

import keras
import numpy as np
from keras import ops

from lookonce.darknet import customise
from lookonce.darknet.anchors import anchors_for, choose_size
from lookonce.labels import load_dataset
from lookonce.models.keras import build
from lookonce.training.base_model import base_cfg
from lookonce.training.data.batches import Batches, samples_of
from lookonce.training.loop import Trainee
from lookonce.training.loss.yolo import YoloLoss
from lookonce.training.recipe import Recipe, make_optimizer


class Repeat(keras.utils.PyDataset):
    """One batch, again and again."""

    def __init__(self, batch: tuple[np.ndarray, np.ndarray], length: int) -> None:
        super().__init__()
        self.batch, self.length = batch, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        return self.batch


def mean_of_heads(truths: object, heads: list) -> object:
    # Without a minimum: near one, gradients become denormal numbers, which processors are slow at.
    return sum(ops.mean(head) for head in heads)


def seconds(trainee: Trainee, batches: keras.utils.PyDataset) -> float:
    started = time.perf_counter()
    trainee.fit(batches, epochs=1, verbose=0, shuffle=False)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--model", default="yolov3-tiny")
    parser.add_argument("--bs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64)
    arguments = parser.parse_args()

    recipe = Recipe(batch_size=arguments.bs)
    checked = load_dataset(arguments.data)
    indices = checked.indices(checked.dataset.split("train", 0))[: arguments.images]
    base = base_cfg(arguments.model)
    size = choose_size(None, checked, max(base.input_size))
    anchors = anchors_for(checked, indices, size, "letterbox", 6, 0)
    cfg = customise(base, len(checked.class_names), anchors.sizes, size)
    batches = Batches(samples_of(checked, indices), arguments.bs, size, "letterbox", recipe.augmentation, 0)

    def trainee(loss: object) -> Trainee:
        network = build(cfg)
        made = Trainee(network, loss)
        optimizer = make_optimizer(recipe, network.trainable_variables, 40, len(batches))
        made.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
        return made

    bare, whole = trainee(mean_of_heads), trainee(YoloLoss(cfg.heads, size))
    repeat = Repeat(batches[0], len(batches))
    seconds(bare, repeat), seconds(whole, batches)  # tracing, reading, filling the cache
    images = len(batches) * arguments.bs
    ratios = []
    for epoch in range(arguments.rounds):
        batches.epoch = epoch + 1
        bare_seconds, whole_seconds = seconds(bare, repeat), seconds(whole, batches)
        ratios.append(whole_seconds / bare_seconds)
        print(
            f"round {epoch + 1}: bare {images / bare_seconds:.1f} images/s, "
            f"whole {images / whole_seconds:.1f} images/s, "
            f"whole/bare {ratios[-1]:.3f}",
            flush=True,
        )
    print(f"median whole/bare {statistics.median(ratios):.3f} ({size[1]}x{size[0]}, batch {arguments.bs})")


if __name__ == "__main__":
    main()
