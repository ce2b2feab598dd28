"""The preparation of a training: labels, splits, input size, anchors, the cfg, the network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras

from lookonce._version import __version__
from lookonce.core.boxes import LETTERBOX, RESIZES, STRETCH
from lookonce.core.model_card import ModelCard
from lookonce.darknet import Cfg, customise
from lookonce.darknet.anchors import Anchors, anchors_for, choose_size
from lookonce.errors import LookonceError, listing
from lookonce.io.hashing import file_sha256
from lookonce.labels import CheckedDataset, Dataset, load_dataset, read_classes
from lookonce.models.keras import build, layers_of, start_heads
from lookonce.training.base_model import base_cfg, read_pretrained, start_from
from lookonce.training.progress import Reporter
from lookonce.training.recipe import Recipe

NO_SPLIT = "none"


@dataclass(frozen=True)
class ModelOptions:
    """The network to train; see `train` for each option."""

    model: str | Path = "yolov3-tiny"
    weights: str | Path | None = None
    weights_cfg: str | Path | None = None
    size: int | tuple[int, int] | None = None
    resize: str | None = None
    anchors: int | None = None


@dataclass(frozen=True)
class Plan:
    """A training that is ready to start.

    `lists` holds the indices of the "train" and "val" images in `checked`. `taken` are the indices of the
    cfg's layers whose pretrained weights `network` starts from.
    """

    checked: CheckedDataset
    lists: dict[str, list[int]]
    cfg: Cfg
    anchors: Anchors
    card: ModelCard
    recipe: Recipe
    network: keras.Model
    taken: list[int]
    weights: str

    @property
    def frozen(self) -> list[keras.layers.Layer]:
        """The layers that are frozen in the first stage."""
        return list(layers_of(self.network, self.taken))

    @property
    def split_names(self) -> dict[str, list[str]]:
        """The names of the images in each list."""
        return {
            name: [self.checked.records[index].name for index in indices]
            for name, indices in self.lists.items()
        }

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that must be equal for a run to be resumed."""
        return {
            # As it is read back: JSON knows no tuples.
            **json.loads(json.dumps(asdict(self.recipe))),
            "cfg_sha256": hashlib.sha256(self.cfg.text.encode()).hexdigest(),
            "data_sha256": self.card.trained_on["sha256"],
            "weights": self.weights,
            "resize": self.card.resize,
            "backend": keras.backend.backend(),
        }

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that reports and trackers show."""
        height, width = self.card.input_size
        return {**self.identity, "model": self.card.name, "size": f"{height}x{width}"}


def plan_training(
    data: str | Path | Dataset,
    options: ModelOptions,
    recipe: Recipe,
    classes: str | Path | Sequence[str] | None,
    splits: tuple[str, str],
    reporter: Reporter,
) -> Plan:
    """Check the labels, cluster anchors, write the cfg, build the network, transplant pretrained weights.

    `splits` are the names of the lists to train and to validate on. Raises LookonceError.
    """
    names = read_classes(Path(classes)) if isinstance(classes, str | Path) else classes
    checked = load_dataset(data, names, reporter.say)
    lists = _lists(checked, *splits, recipe.seed)
    base = base_cfg(str(options.model))
    resize = options.resize or (STRETCH if base.net.text("letter_box", "1") == "0" else LETTERBOX)
    if resize not in RESIZES:
        raise LookonceError(f"resize is {resize!r}; expected one of {', '.join(RESIZES)}.")
    input_size = choose_size(options.size, checked, max(base.input_size))
    count = len(base.heads[0].all_anchors) if options.anchors is None else options.anchors
    anchors = anchors_for(checked, lists["train"], input_size, resize, count, recipe.seed)
    cfg = customise(base, len(checked.class_names), anchors.sizes, input_size)
    name = Path(options.model).stem
    reporter.say(
        f"{name}: {len(checked.class_names)} classes ({listing(checked.class_names, 10)}), input "
        f"{input_size[1]}x{input_size[0]} ({resize}), {count} anchors with average IoU {anchors.average_iou:.3f}."
    )
    network = build(cfg)
    start_heads(network, cfg)
    taken: list[int] = []
    if options.weights is not None:
        transplanted = start_from(read_pretrained(options.weights, options.weights_cfg, base), cfg, network)
        taken = sorted(transplanted.layers)
        _report_transplant(transplanted.rows, reporter)
    freeze = recipe.freeze_epochs
    if freeze is None:
        freeze = min(2, recipe.epochs // 10)
    trained_on = {
        "dataset": checked.dataset.name,
        "images": {name: len(indices) for name, indices in lists.items()},
        "boxes": sum(len(checked.records[index].boxes) for index in lists["train"]),
        "sha256": checked.digest(lists["train"]),
    }
    card = ModelCard(
        name, checked.class_names, input_size, resize, cfg.text, trained_on, lookonce=__version__
    )
    return Plan(
        checked,
        lists,
        cfg,
        anchors,
        card,
        replace(recipe, freeze_epochs=freeze if taken else 0),
        network,
        taken,
        _fingerprint(options.weights),
    )


def _lists(checked: CheckedDataset, train_split: str, val_split: str, seed: int) -> dict[str, list[int]]:
    """Return the images to train on and to validate on; one that is in both would flatter the result."""
    lists = {"train": checked.indices(checked.dataset.split(train_split, seed)), "val": []}
    if val_split != NO_SPLIT:
        lists["val"] = checked.indices(checked.dataset.split(val_split, seed))
        both = set(lists["train"]) & set(lists["val"])
        if both:
            example = checked.records[min(both)].name
            raise LookonceError(
                f"{len(both)} images are in both the training split {train_split} and the validation split "
                f"{val_split}, {example} among them. Use disjoint lists, or no validation split (none)."
            )
    if not lists["train"]:
        raise LookonceError(f"{checked.dataset.root}: the list {train_split!r} has no usable image.")
    return lists


def _fingerprint(weights: str | Path | None) -> str:
    return f"{Path(weights).name} {file_sha256(Path(weights))[:12]}" if weights else "none"


def _report_transplant(rows: Sequence[Any], reporter: Reporter) -> None:
    taken = sum(row.taken for row in rows)
    reporter.say(f"Pretrained weights: {taken} of {len(rows)} convolutions taken.")
    for row in rows:
        if not row.taken:
            reporter.say(f"  skipped layer {row.layer} {row.shape}: {row.reason}")
