"""Learning-rate schedules: Darknet's policies (get_current_rate) and the cosine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

if TYPE_CHECKING:
    from lookonce.training.recipe import Recipe

SCHEDULES = ("cosine", "constant", "steps", "exponential", "polynomial")
# What the cosine ends at, against what it starts from.
_COSINE_END = 0.01


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate by step: a warm-up of `warmup` steps, then the recipe's schedule until `steps`.

    The cosine (Loshchilov and Hutter 2017, equation 5) starts where the warm-up ends; the other schedules
    count from the first step, as Darknet's policies do.
    """

    def __init__(self, recipe: Recipe, steps: int, steps_per_epoch: int) -> None:
        self.recipe, self.steps = recipe, max(1, steps)
        # An epoch at least, where that leaves three quarters of the run.
        wanted = round(self.steps * recipe.warmup)
        self.warmup = min(self.steps // 4, max(steps_per_epoch, wanted)) if wanted else 0

    def __call__(self, step: Any) -> Any:
        """Return the rate of `step`, counted from 0."""
        step = ops.cast(step, "float32")
        rate = self.recipe.learning_rate * self._factor(step)
        if not self.warmup:
            return rate
        begun = ((step + 1) / (self.warmup + 1)) ** self.recipe.warmup_power
        return ops.where(step < self.warmup, self.recipe.learning_rate * begun, rate)

    def _factor(self, step: Any) -> Any:
        recipe, share = self.recipe, ops.clip(step / self.steps, 0.0, 1.0)
        if recipe.schedule == "cosine":
            gone = ops.clip((step - self.warmup) / max(1, self.steps - self.warmup), 0.0, 1.0)
            return _COSINE_END + (1 - _COSINE_END) * 0.5 * (1 + ops.cos(math.pi * gone))
        if recipe.schedule == "exponential":
            return recipe.gamma**step
        if recipe.schedule == "polynomial":
            return (1 - share) ** recipe.gamma
        factor = ops.ones_like(step)
        for at, times in recipe.milestones:
            factor = ops.where(share >= at, factor * times, factor)
        return factor

    def get_config(self) -> dict[str, Any]:
        """Return the numbers of the schedule; Keras asks for them, but the optimizer is never saved."""
        return {"steps": self.steps, "warmup": self.warmup}
