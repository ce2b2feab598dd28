"""The recipe: every setting of a training, read and written as TOML, and its optimizer."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import keras

from lookonce.darknet import Head
from lookonce.errors import LookonceError
from lookonce.io.atomic import write_text
from lookonce.training.data.augment import Augmentation
from lookonce.training.loss.yolo import CFG_LOSS, LOSSES, YoloLoss
from lookonce.training.schedule import SCHEDULES, Schedule

OPTIMIZERS = ("adamw", "sgd")
_MANY = math.inf
_BOUNDS = {
    "epochs": (1, _MANY),
    "freeze_epochs": (0, _MANY),
    "batch_size": (1, _MANY),
    "accumulate": (1, _MANY),
    "learning_rate": (0, _MANY),
    "momentum": (0, 0.9999),
    "weight_decay": (0, _MANY),
    "clip_norm": (1e-9, _MANY),
    "warmup": (0, 1),
    "ignore_thresh": (0, 1),
    "iou_thresh": (0, 1),
    "box_weight": (0, _MANY),
    "focal_gamma": (0, 10),
    "hard_negatives": (0, 1),
    "negatives": (0, 1),
    "multi_scale": (1, 4),
    "patience": (1, _MANY),
    "closing": (0, 1),
}


@dataclass(frozen=True)
class Recipe:
    """Every setting of a training.

    `epochs` counts all of them; the first `freeze_epochs` train only what was not transplanted (None: a tenth
    of the epochs, at most 2).
    `patience` epochs without a better validation mAP end the run. `batch_size` images are in the device
    at once; `accumulate` such batches give one step. `clip_norm` bounds the gradient's global norm.

    `schedule` runs from `learning_rate` by batches of one step: "cosine" falls to 1 %, "steps" takes the
    factors at the shares of the run in `milestones`, "exponential" multiplies by `gamma` a step and
    "polynomial" is (1 - share)^gamma. `warmup` is a share of the run; its rate grows with the power
    `warmup_power`. `momentum` is SGD's, and the first beta of AdamW.

    `loss` is one of LOSSES: "cfg" takes the cfg's `iou_loss`. `ignore_thresh`, `iou_thresh` and
    `box_weight` (its `iou_normalizer`) None keep the cfg's. `focal_gamma` and `hard_negatives`: see YoloLoss.
    `negatives` is the share of an epoch's images that have no boxes; None takes them as they come.
    `multi_scale` above 1 draws every ten batches another input size, up to that factor larger or smaller.
    The last `closing` share of the epochs has the plain input size and no images made of several.
    """

    epochs: int = 40
    freeze_epochs: int | None = None
    batch_size: int = 8
    accumulate: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.01
    clip_norm: float | None = None
    schedule: str = "cosine"
    milestones: tuple[tuple[float, float], ...] = ()
    gamma: float = 1.0
    warmup: float = 0.05
    warmup_power: float = 1.0
    loss: str = CFG_LOSS
    ignore_thresh: float | None = 0.5
    iou_thresh: float | None = None
    box_weight: float | None = None
    focal_gamma: float = 0.0
    hard_negatives: float = 1.0
    negatives: float | None = None
    multi_scale: float = 1.0
    patience: int = 20
    closing: float = 0.15
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Raise LookonceError for a value that no run can have."""
        for name, known in (("loss", LOSSES), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise LookonceError(
                    f"the recipe's {name} is {getattr(self, name)!r}; expected one of {', '.join(known)}."
                )
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise LookonceError(f"the recipe's {name} is {value:g}; expected {low:g} to {high:g}.")

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """Return a copy with other values; a change to None keeps the recipe's. Raises LookonceError.

        Example:
            >>> Recipe(epochs=10).changed({"epochs": 3, "seed": None}).epochs
            3
        """
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def write(self, path: Path) -> None:
        """Write the recipe as TOML, as `read_recipe` reads it; values that are None are left out."""
        import tomli_w

        values = {key: value for key, value in asdict(self).items() if value is not None}
        # A table stands last in TOML.
        values["augmentation"] = values.pop("augmentation")
        write_text(path, tomli_w.dumps(values))

    @property
    def closing_from(self) -> int:
        """The first of the closing epochs, counted from 0."""
        return self.epochs - round(self.closing * self.epochs)

    def loss_of(self, heads: Sequence[Head], input_size: tuple[int, int]) -> YoloLoss:
        """Return the loss of a network with these heads and `input_size` (height, width)."""
        return YoloLoss(
            heads,
            input_size,
            self.loss,
            self.ignore_thresh,
            self.iou_thresh,
            self.box_weight,
            self.focal_gamma,
            self.hard_negatives,
        )


def read_recipe(path: str | Path | None) -> Recipe:
    """Read a recipe from a TOML file: fields of Recipe, and a table [augmentation] with those of Augmentation.

    Whatever the file leaves out has its default; None gives a recipe of defaults. Raises LookonceError for a file
    that cannot be read, for a name that is not a setting, and for a value of the wrong kind or out of range.
    """
    if path is None:
        return Recipe()
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LookonceError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LookonceError(f"{path}: is not a recipe in TOML ({error}).") from error
    table = values.pop("augmentation", {})
    if not isinstance(table, dict):
        raise LookonceError(f"{path}: augmentation is {table!r}; expected a table [augmentation].")
    augmentation = Augmentation(**_checked(path, table, Augmentation))
    if "milestones" in values:
        values["milestones"] = _milestones(path, values["milestones"])
    try:
        return Recipe(**_checked(path, values, Recipe), augmentation=augmentation)
    except LookonceError as error:
        raise LookonceError(f"{path}: {error}") from error


def _checked(path: Path, values: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Return `values` if each is a field of the dataclass `kind` and fits its type."""
    types = {one.name: str(one.type) for one in fields(kind) if one.name != "augmentation"}
    for name, value in values.items():
        if name not in types:
            near = difflib.get_close_matches(name, types, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Settings are {', '.join(sorted(types))}."
            raise LookonceError(f"{path}: {name} is not a setting. {hint}")
        wanted = types[name].removesuffix(" | None")
        fits = {
            "bool": isinstance(value, bool),
            "int": isinstance(value, int) and not isinstance(value, bool),
            "float": isinstance(value, int | float) and not isinstance(value, bool),
            "str": isinstance(value, str),
        }.get(wanted, True)
        if not fits:
            raise LookonceError(f"{path}: {name} is {value!r}; expected a value of type {wanted}.")
    return dict(values)


def _milestones(path: Path, value: Any) -> tuple[tuple[float, float], ...]:
    try:
        return tuple((float(share), float(factor)) for share, factor in value)
    except (TypeError, ValueError) as error:
        raise LookonceError(
            f"{path}: milestones is {value!r}; expected pairs of share and factor, such as [[0.8, 0.1], [0.9, 0.1]]."
        ) from error


def make_optimizer(
    recipe: Recipe, variables: list[keras.Variable], epochs: int, steps_per_epoch: int
) -> keras.optimizers.Optimizer:
    """Return the optimizer of one stage: warm-up, schedule, decay on kernels only, averaged weights."""
    steps = max(1, epochs * steps_per_epoch // recipe.accumulate)
    shared: dict[str, Any] = {
        "learning_rate": Schedule(recipe, steps, steps_per_epoch // recipe.accumulate),
        "weight_decay": recipe.weight_decay,
        "global_clipnorm": recipe.clip_norm,
        "gradient_accumulation_steps": recipe.accumulate if recipe.accumulate > 1 else None,
        "use_ema": True,
        # A window of a seventh of the stage at its end, never longer than 10,000 steps.
        "ema_momentum": min(max(0.9, 1 - 7 / steps), 0.9999),
    }
    if recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=recipe.momentum, **shared)
    else:
        optimizer = keras.optimizers.AdamW(beta_1=recipe.momentum, **shared)
    optimizer.exclude_from_weight_decay(
        var_list=[variable for variable in variables if len(variable.shape) < 2]
    )
    optimizer.build(variables)
    return optimizer
