"""Train a detector: the whole job as an outline."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from lookonce._version import __version__
from lookonce.core.model_card import ModelCard
from lookonce.darknet import write_weights
from lookonce.evaluation import Metrics, plots
from lookonce.evaluation.validation import AP_CONFIDENCE, Measurement, Validation
from lookonce.inference import Detector
from lookonce.labels import Dataset
from lookonce.models.keras import to_darknet
from lookonce.models.open import open_model
from lookonce.report.facts import RunFacts, describe_run
from lookonce.report.page import write_report
from lookonce.runs.folder import RunFolder
from lookonce.runs.record import RunRecord, read_start, read_times
from lookonce.runs.tracking import NoTracking, Tracking
from lookonce.training.data.batches import Batches, samples_of
from lookonce.training.loop import train_network
from lookonce.training.plan import ModelOptions, Plan, plan_training
from lookonce.training.progress import Reporter
from lookonce.training.recipe import Recipe, read_recipe
from lookonce.training.run import TrainingRun


@dataclass(frozen=True)
class TrainResult:
    """The saved model and its metrics; `metrics` is None without a validation list."""

    model_path: Path
    metrics: Metrics | None
    out: Path


def train(
    data: str | Path | Dataset,
    *,
    model: str | Path = "yolov3-tiny",
    weights: str | Path | None = None,
    weights_cfg: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    resize: str | None = None,
    anchors: int | None = None,
    classes: str | Path | Sequence[str] | None = None,
    train_split: str = "train",
    val_split: str = "val",
    recipe: Recipe | str | Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    out: str | Path = "outputs",
    resume: bool = False,
    track: bool = False,
    experiment: str = "lookonce",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: bool = True,
) -> TrainResult:
    """Train a detector on labelled images and save it in the folder `out`.

    Args:
        data: the dataset or its folder.
        model: a name of the zoo, or a Darknet .cfg file.
        weights: pretrained Darknet weights, or a .keras model.
        weights_cfg: the cfg that Darknet weights belong to; None takes the published one of `model`.
        size: input size in pixels, one side or (height, width); None takes the model's longer side and the images'
            shape.
        resize: "letterbox" or "stretch"; None takes the cfg's.
        anchors: number of anchors; None takes the model's.
        classes: names in order, or a file of them; None takes the labels' own.
        train_split: name of the list to train on.
        val_split: name of the list to validate on; "none" trains all epochs without choosing among them.
        recipe: a Recipe, or a file that holds one; None takes the defaults.
        epochs: overrides the recipe's, as do `batch_size`, `learning_rate` and `seed`.
        out: the run's folder.
        resume: continue the run in `out`.
        track: send a run to MLflow, into `experiment`.
        callbacks: see TrainingRun.
        verbose: print what happens; False prints nothing.

    Raises:
        LookonceError: for input that the caller can fix.

    Example:
        >>> from lookonce.inference.evaluate import evaluate
        >>> from lookonce.labels.demo_set import make_demo_set
        >>> images = make_demo_set(Path("."), images=8)
        >>> result = train(images, epochs=1, size=(64, 96), anchors=2, out="outputs", verbose=False)
        >>> result.model_path.name
        'model.keras'
        >>> 0 <= evaluate(result.model_path, images, split="val").ap50 <= 1
        True
    """
    changes = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    chosen = (recipe if isinstance(recipe, Recipe) else read_recipe(recipe)).changed(changes)
    keras.utils.set_random_seed(chosen.seed)
    folder = RunFolder(Path(out))
    folder.claim(resume)
    with Reporter(quiet=not verbose) as reporter:
        options = ModelOptions(model, weights, weights_cfg, size, resize, anchors)
        plan = plan_training(data, options, chosen, classes, (train_split, val_split), reporter)
        batches = _batches(plan)
        record = describe_run(plan.card, plan.settings, plan.checked, plan.lists, keras.backend.backend())
        _describe(folder, plan, record)
        validation = Validation(plan.checked, plan.lists["val"]) if plan.lists["val"] else None
        with Tracking(folder.root, experiment, reporter.say, resume) if track else NoTracking() as tracking:
            tracking.begin(plan.settings, _tags(plan.card))
            run = TrainingRun(
                folder, plan.card, plan.identity, validation, resume, reporter, tracking, callbacks
            )
            loss = plan.recipe.loss_of(plan.cfg.heads, plan.card.input_size)
            train_network(plan.network, loss, batches, plan.recipe, plan.frozen, run)
            return _finish(folder, plan, record, batches, validation, reporter)


def _batches(plan: Plan) -> Batches:
    recipe = plan.recipe
    return Batches(
        samples_of(plan.checked, plan.lists["train"]),
        recipe.batch_size,
        plan.card.input_size,
        plan.card.resize,
        recipe.augmentation,
        recipe.seed,
        closing_from=recipe.closing_from,
        multi_scale=recipe.multi_scale,
        negatives=recipe.negatives,
    )


def _describe(folder: RunFolder, plan: Plan, record: RunRecord) -> None:
    """Write the files that are known before the first epoch."""
    folder.describe(plan.cfg.text, plan.anchors, plan.checked.class_names, plan.split_names)
    plan.recipe.write(folder.recipe)
    sizes = plan.checked.box_sizes(plan.lists["train"], plan.card.input_size, plan.card.resize)
    plots.plot_anchors(sizes, plan.anchors.sizes, plan.anchors.average_iou, folder.root / "anchors.png")
    record.write(folder.root)


def _tags(card: ModelCard) -> dict[str, Any]:
    """Return a tracked run's tags: the data, and the machine."""
    dataset = {f"data.{name}": value for name, value in card.trained_on.items()}
    machine = {"machine": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
    return {**dataset, **machine, "lookonce": __version__, "classes": ", ".join(card.classes)}


def _finish(
    folder: RunFolder,
    plan: Plan,
    record: RunRecord,
    batches: Batches,
    validation: Validation | None,
    reporter: Reporter,
) -> TrainResult:
    """Write Darknet's weights, metrics, plots and the report from the saved model."""
    network, card = open_model(folder.model)
    write_weights(folder.weights, plan.cfg, to_darknet(network, plan.cfg))
    rows = folder.read_metrics()
    plots.plot_curves(rows, folder.root / "curves.png")
    measured: Measurement | None = None
    if validation is not None:
        measured = validation.measure(Detector.from_keras(network, card, conf=AP_CONFIDENCE))
        validation.write_plots(measured, folder.root)
    facts = RunFacts(
        folder.root,
        card,
        record,
        plan.checked,
        plan.lists,
        rows,
        times=read_times(folder.root),
        batches=batches,
        measured=measured,
        started=read_start(folder.root),
    )
    _report(facts, reporter)
    if measured is None:
        reporter.say(f"Done: {folder.model}. No validation list was used; measure it with lookonce evaluate.")
        return TrainResult(folder.model, None, folder.root)
    metrics = measured.metrics
    reporter.say(f"Done: {folder.model}  val AP50 {metrics.ap50:.3f}  AP {metrics.ap:.3f}")
    return TrainResult(folder.model, metrics, folder.root)


def _report(facts: RunFacts, reporter: Reporter) -> None:
    """Write report.html; whatever goes wrong in it costs one line, not the training."""
    try:
        path = write_report(facts)
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        reporter.say(f"The report could not be written ({type(error).__name__}: {first}); all else is there.")
    else:
        reporter.say(f"Report: {path}")
