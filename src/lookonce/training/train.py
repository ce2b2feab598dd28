"""The main job as an outline: check, cluster anchors, write the cfg, transplant, train, evaluate, save."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from lookonce._version import __version__
from lookonce.core.boxes import LETTERBOX, RESIZES, STRETCH
from lookonce.core.model_card import ModelCard
from lookonce.darknet import customise, write_weights
from lookonce.darknet.anchors import anchors_for, choose_size
from lookonce.errors import LookonceError
from lookonce.evaluation import Metrics, plots
from lookonce.evaluation.validation import AP_CONFIDENCE, NMS_IOU, Validation
from lookonce.inference import Detector
from lookonce.io.hashing import file_sha256
from lookonce.labels import CheckedDataset, load_dataset, read_classes
from lookonce.models.keras import build, layers_of, save_model, start_heads, to_darknet
from lookonce.models.open import open_model
from lookonce.report.facts import RunFacts, describe_run
from lookonce.report.page import write_report
from lookonce.runs.folder import RunFolder
from lookonce.runs.record import Stopwatch, read_start, read_times
from lookonce.runs.tracking import NoTracking, Tracking
from lookonce.training.base_model import base_cfg, read_pretrained, start_from
from lookonce.training.data.batches import Batches, samples_of
from lookonce.training.loop import train_network
from lookonce.training.loss.yolo import CFG_LOSS
from lookonce.training.progress import Reporter
from lookonce.training.recipe import Recipe

NO_SPLIT = "none"


@dataclass(frozen=True)
class TrainResult:
    """Where the model lies and how good it is; `metrics` is None when there was no validation list."""

    model_path: Path
    metrics: Metrics | None
    out: Path


def train(
    data: str | Path,
    *,
    model: str = "yolov3-tiny",
    weights: str | Path | None = None,
    weights_cfg: str | Path | None = None,
    out: str | Path = "outputs",
    size: int | tuple[int, int] | None = None,
    resize: str | None = None,
    num_clusters: int | None = None,
    class_path: str | Path | None = None,
    train_split: str = "train",
    val_split: str = "val",
    epochs: int = 40,
    freeze_epochs: int | None = None,
    bs: int = 8,
    lr: float = 1e-3,
    loss: str = CFG_LOSS,
    patience: int = 20,
    seed: int = 0,
    resume: bool = False,
    track: bool = False,
    experiment: str = "lookonce",
    reporter: Reporter | None = None,
) -> TrainResult:
    """Train a detector on the labelled images in `data` and leave it in the folder `out`.

    `model` is a name of the zoo or a Darknet cfg file. `weights` is a Darknet weights file, read with its
    own cfg (`weights_cfg`, else the published one of `model`), or a `.keras` model. `size` is one side or
    (height, width); None takes the model's longer side and the images' shape. `val_split="none"` trains
    for all epochs without choosing among them. With `track`, MLflow gets a run in `experiment`.
    Raises LookonceError for whatever the caller can fix.
    """
    keras.utils.set_random_seed(seed)
    folder = RunFolder(Path(out))
    folder.claim(resume)
    with reporter or Reporter() as reporter:
        checked = load_dataset(data, read_classes(Path(class_path)) if class_path else None, reporter.say)
        lists = _lists(checked, train_split, val_split, seed)
        base = base_cfg(model)
        resize = resize or (STRETCH if base.net.text("letter_box", "1") == "0" else LETTERBOX)
        if resize not in RESIZES:
            raise LookonceError(f"--resize is {resize!r}; choose one of {', '.join(RESIZES)}.")
        input_size = choose_size(size, checked, max(base.input_size))
        count = len(base.heads[0].all_anchors) if num_clusters is None else num_clusters
        anchors = anchors_for(checked, lists["train"], input_size, resize, count, seed)
        cfg = customise(base, len(checked.class_names), anchors.sizes, input_size)
        reporter.say(
            f"{Path(model).stem}: {len(checked.class_names)} classes ({', '.join(checked.class_names)}), "
            f"input {input_size[1]}x{input_size[0]} ({resize}), {count} anchors "
            f"with average IoU {anchors.average_iou:.3f}."
        )
        network = build(cfg)
        start_heads(network, cfg)
        taken: list[int] = []
        if weights is not None:
            transplanted = start_from(read_pretrained(weights, weights_cfg, base), cfg, network)
            taken = sorted(transplanted.layers)
            _report_transplant(transplanted.rows, reporter)
        if freeze_epochs is None:
            freeze_epochs = min(2, epochs // 10)
        recipe = Recipe(
            epochs=epochs,
            freeze_epochs=freeze_epochs if taken else 0,
            batch_size=bs,
            learning_rate=lr,
            loss=loss,
            patience=patience,
            seed=seed,
        )
        names = {name: [checked.records[index].name for index in indices] for name, indices in lists.items()}
        trained_on = {
            "dataset": checked.dataset.name,
            "images": {name: len(indices) for name, indices in lists.items()},
            "boxes": sum(len(checked.records[index].boxes) for index in lists["train"]),
            "sha256": checked.digest(lists["train"]),
        }
        card = ModelCard(
            Path(model).stem,
            checked.class_names,
            input_size,
            resize,
            cfg.text,
            trained_on,
            lookonce=__version__,
        )
        folder.describe(cfg.text, anchors, checked.class_names, names)
        sizes = checked.box_sizes(lists["train"], input_size, resize)
        plots.plot_anchors(sizes, anchors.sizes, anchors.average_iou, folder.root / "anchors.png")

        def save(path: Path, trained: keras.Model, row: dict[str, Any]) -> None:
            scores = {key: value for key, value in row.items() if key == "epoch" or key.startswith("val_")}
            save_model(path, trained, replace(card, metrics=scores))

        validation = Validation(checked, lists["val"]) if lists["val"] else None
        batches = Batches(
            samples_of(checked, lists["train"]),
            bs,
            input_size,
            resize,
            recipe.augmentation,
            seed,
            closing_from=recipe.closing_from,
            multi_scale=recipe.multi_scale,
            negatives=recipe.negatives,
        )
        identity = {
            # As it is read back: JSON knows no tuples.
            **json.loads(json.dumps(asdict(recipe))),
            "cfg_sha256": hashlib.sha256(cfg.text.encode()).hexdigest(),
            "data_sha256": trained_on["sha256"],
            "weights": f"{Path(weights).name} {file_sha256(Path(weights))[:12]}" if weights else "none",
            "resize": resize,
            "backend": keras.backend.backend(),
        }
        settings = {**identity, "model": card.name, "size": f"{input_size[0]}x{input_size[1]}"}
        record = describe_run(card, settings, checked, lists, keras.backend.backend())
        record.write(folder.root)

        with Tracking(folder.root, experiment, reporter.say, resume) if track else NoTracking() as tracking:
            tracking.begin(settings, _fingerprint(card))
            watch = Stopwatch.start(folder.root, resume)

            def after_epoch(rows: list[dict[str, Any]]) -> None:
                folder.write_metrics(rows)
                watch.epoch_done(len(rows))
                tracking.epoch(rows[-1])

            train_network(
                network,
                recipe.loss_of(cfg.heads, input_size),
                batches,
                recipe,
                frozen=layers_of(network, taken),
                validate=watch.timing(partial(_validate, validation, card)) if validation else None,
                save_best=partial(save, folder.model),
                save_final=partial(save, folder.final),
                after_epoch=after_epoch,
                folder=folder.last,
                run=identity,
                resume=resume,
                reporter=reporter,
            )
            facts = partial(
                RunFacts, folder.root, record=record, checked=checked, lists=lists, batches=batches
            )
            return _finish(folder, validation, cfg, facts, reporter)


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    split: str | None = "test",
    weights: str | Path | None = None,
    classes: str | Path | None = None,
    resize: str | None = None,
    conf: float = 0.3,
    iou: float = 0.45,
    seed: int = 0,
) -> Metrics:
    """Measure a model on one split of a labelled folder; `split` None takes every image.

    AP counts every detection above 0.001; precision and recall are at `conf`.
    """
    detector = Detector(model, weights=weights, classes=classes, resize=resize, conf=AP_CONFIDENCE, iou=iou)
    return Validation.of_split(data, detector.names, split, seed).measure(detector, conf).metrics


def _lists(checked: CheckedDataset, train_split: str, val_split: str, seed: int) -> dict[str, list[int]]:
    """The images to train on and to validate on; one that stands in both would flatter the result."""
    lists = {"train": checked.indices(checked.dataset.split(train_split, seed)), "val": []}
    if val_split != NO_SPLIT:
        lists["val"] = checked.indices(checked.dataset.split(val_split, seed))
        both = set(lists["train"]) & set(lists["val"])
        if both:
            example = checked.records[min(both)].name
            raise LookonceError(
                f"{len(both)} images are in both --train-split {train_split} and --val-split {val_split}, "
                f"{example} among them. Use disjoint lists, or --val-split none."
            )
    if not lists["train"]:
        raise LookonceError(f"{checked.dataset.root}: the list {train_split!r} has no usable image.")
    return lists


def _validate(validation: Validation, card: ModelCard, network: keras.Model) -> dict[str, float]:
    return validation.scores(Detector.from_keras(network, card, conf=AP_CONFIDENCE, iou=NMS_IOU))


def _fingerprint(card: ModelCard) -> dict[str, Any]:
    """Tags of a tracked run: the data, and the machine."""
    dataset = {f"data.{name}": value for name, value in card.trained_on.items()}
    machine = {"machine": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
    return {**dataset, **machine, "lookonce": __version__, "classes": ", ".join(card.classes)}


def _report_transplant(rows: Sequence[Any], reporter: Reporter) -> None:
    taken = sum(row.taken for row in rows)
    reporter.say(f"Pretrained weights: {taken} of {len(rows)} convolutions taken.")
    for row in rows:
        if not row.taken:
            reporter.say(f"  skipped layer {row.layer} {row.shape}: {row.reason}")


def _finish(
    folder: RunFolder,
    validation: Validation | None,
    cfg: Any,
    facts: Callable[..., RunFacts],
    reporter: Reporter,
) -> TrainResult:
    """From the saved best model: Darknet's files, metrics, plots and the report."""
    network, card = open_model(folder.model)
    write_weights(folder.weights, cfg, to_darknet(network, cfg))
    rows = folder.read_metrics()
    plots.plot_curves(rows, folder.root / "curves.png")
    measured = None
    if validation is not None:
        measured = validation.measure(Detector.from_keras(network, card, conf=AP_CONFIDENCE))
        validation.write_plots(measured, folder.root)
    _report(partial(facts, card=card, rows=rows, measured=measured), folder, reporter)
    if measured is None:
        reporter.say(f"Done: {folder.model}. No validation list was used; measure it with lookonce evaluate.")
        return TrainResult(folder.model, None, folder.root)
    metrics = measured.metrics
    reporter.say(f"Done: {folder.model}  val AP50 {metrics.ap50:.3f}  AP {metrics.ap:.3f}")
    return TrainResult(folder.model, metrics, folder.root)


def _report(facts: Callable[..., RunFacts], folder: RunFolder, reporter: Reporter) -> None:
    """report.html; whatever goes wrong in it costs one line, not the training."""
    try:
        path = write_report(facts(times=read_times(folder.root), started=read_start(folder.root)))
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        reporter.say(f"The report could not be written ({type(error).__name__}: {first}); all else is there.")
    else:
        reporter.say(f"Report: {path}")
