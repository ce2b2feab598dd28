"""How to train: every number of a run in one place, and the optimizer made from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import keras

from lookonce.training.augment import Augmentation


@dataclass(frozen=True)
class Recipe:
    """`epochs` counts all of them; the first `freeze_epochs` train only what was not transplanted.

    `ignore_thresh` None keeps the cfg's. `patience` epochs without a better validation mAP end the run.
    The last `closing` share of the epochs has no pictures made of several.
    """

    epochs: int = 40
    freeze_epochs: int = 0
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    loss: str = "v3"
    ignore_thresh: float | None = 0.5
    patience: int = 20
    closing: float = 0.15
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def closing_from(self) -> int:
        """The first epoch, counted from 0, of the closing ones."""
        return self.epochs - round(self.closing * self.epochs)


def make_optimizer(
    recipe: Recipe, variables: list[keras.Variable], epochs: int, steps_per_epoch: int
) -> keras.optimizers.Optimizer:
    """AdamW for one stage: linear warm-up, cosine to 1 %, decay on kernels only, averaged weights."""
    steps = max(1, epochs * steps_per_epoch)
    warmup = min(steps // 4, max(steps_per_epoch, steps // 20))
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 100 if warmup else recipe.learning_rate,
        max(1, steps - warmup),
        alpha=0.01,
        warmup_target=recipe.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(
        schedule,
        weight_decay=recipe.weight_decay,
        global_clipnorm=None,
        use_ema=True,
        # A window of a seventh of the stage at its end, never longer than 10,000 steps.
        ema_momentum=min(max(0.9, 1 - 7 / steps), 0.9999),
    )
    optimizer.exclude_from_weight_decay(
        var_list=[variable for variable in variables if len(variable.shape) < 2]
    )
    optimizer.build(variables)
    return optimizer
