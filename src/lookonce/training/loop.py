"""The training loop: stages, epochs, validation, what is saved when."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from lookonce.errors import LookonceError
from lookonce.training import checkpoint
from lookonce.training.data.batches import Batches
from lookonce.training.loss.yolo import YoloLoss
from lookonce.training.progress import Reporter
from lookonce.training.recipe import Recipe, make_optimizer
from lookonce.training.run import TrainingRun


class Trainee(keras.Model):
    """A network with its loss: uint8 images and ground truth in, one number out; exists only while training."""

    def __init__(self, network: keras.Model, loss: YoloLoss) -> None:
        super().__init__()
        self.network, self.yolo_loss = network, loss

    def call(self, images: Any, training: bool = False) -> Any:
        """Return the raw heads of uint8 images (b, h, w, 3)."""
        # Not the network itself: its input has one size, its layers take any.
        return self.network.call(ops.cast(images, self.compute_dtype) / 255, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the loss over all heads; Keras passes a single head without its list."""
        heads = y_pred if isinstance(y_pred, list | tuple) else [y_pred]
        return self.yolo_loss(y, heads, tuple(ops.shape(x)[1:3]))


def train_network(
    network: keras.Model,
    loss: YoloLoss,
    batches: Batches,
    recipe: Recipe,
    frozen: Sequence[keras.layers.Layer],
    run: TrainingRun,
) -> checkpoint.Progress:
    """Train `network` in place and return the progress.

    `frozen` layers stand still for the first `recipe.freeze_epochs`. `run` measures each epoch with averaged weights;
    its `val_map` decides which is the best. The state of the last whole epoch is always in `run.folder.last`.
    """
    trainee = Trainee(network, loss)
    done = checkpoint.Progress(0, [])
    loaded = checkpoint.load(run.folder.last, run.identity) if run.resume else None
    if loaded is not None:
        done, arrays = loaded
        checkpoint.restore(arrays, network, None)
        run.reporter.say(f"Resuming after epoch {done.epochs_done} of {recipe.epochs}.")
    callbacks = keras.callbacks.CallbackList(list(run.callbacks), model=network)
    network.stop_training = False
    callbacks.on_train_begin()
    stage = None
    for epoch in range(done.epochs_done, recipe.epochs):
        if stage != _stage(epoch, recipe):
            stage = _stage(epoch, recipe)
            optimizer = _start_stage(trainee, recipe, stage, frozen, len(batches), run.reporter)
            if loaded is not None and done.epochs_done > 0 and _stage(done.epochs_done - 1, recipe) == stage:
                checkpoint.restore(arrays, network, optimizer)
            loaded = None
        batches.epoch = epoch
        callbacks.on_epoch_begin(epoch)
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "stage": stage,
            "loss": _one_epoch(trainee, batches, epoch, recipe, run.reporter, callbacks),
            "learning_rate": float(keras.ops.convert_to_numpy(optimizer.learning_rate)),
        }
        with averaged_weights(network, optimizer):
            row |= run.measure(network)
            done, best = _judged(done, row)
            if best:
                run.save_best(network, row)
            callbacks.on_epoch_end(epoch, {key: value for key, value in row.items() if key != "epoch"})
            no_better = run.validation is not None and done.epochs_done - done.best_epoch >= recipe.patience
            last = no_better or network.stop_training or epoch + 1 == recipe.epochs
            if last:
                run.save_final(network, row)
        run.epoch_done(done.rows)
        checkpoint.save(run.folder.last, network, optimizer, done, run.identity)
        run.reporter.epoch_done(row, best and run.validation is not None)
        if no_better:
            run.reporter.say(f"Stopped early: no better validation mAP for {recipe.patience} epochs.")
        if last:
            break
    callbacks.on_train_end()
    return done


def _judged(done: checkpoint.Progress, row: dict[str, Any]) -> tuple[checkpoint.Progress, bool]:
    """Return the progress with one more epoch, and whether it is the best; without validation the last one is."""
    epoch = int(row["epoch"])
    score = float(row.get("val_map", epoch))
    best = score > done.best_score
    return (
        checkpoint.Progress(
            epoch, [*done.rows, row], epoch if best else done.best_epoch, score if best else done.best_score
        ),
        best,
    )


def _stage(epoch: int, recipe: Recipe) -> int:
    return 1 if epoch < (recipe.freeze_epochs or 0) else 2


def _start_stage(
    trainee: Trainee,
    recipe: Recipe,
    stage: int,
    frozen: Sequence[keras.layers.Layer],
    steps_per_epoch: int,
    reporter: Reporter,
) -> keras.optimizers.Optimizer:
    """Freeze or release layers, and compile with a fresh optimizer over what is trainable now."""
    for layer in frozen:
        layer.trainable = stage == 2
    network = trainee.network
    frozen_epochs = recipe.freeze_epochs or 0
    epochs = frozen_epochs if stage == 1 else recipe.epochs - frozen_epochs
    trainable, total = count_parameters(network)
    what = "body frozen" if stage == 1 else "all layers"
    reporter.say(f"Stage {stage} ({what}, {epochs} epochs): training {trainable:,} of {total:,} parameters.")
    optimizer = make_optimizer(recipe, network.trainable_variables, epochs, steps_per_epoch)
    # XLA on TensorFlow's CPU has slower convolutions than oneDNN; JAX has nothing but XLA.
    trainee.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
    return optimizer


def count_parameters(network: keras.Model) -> tuple[int, int]:
    """Return the number of trainable parameters now, and of all that can be trained."""
    layers = [layer for layer in network.layers if layer.weights]
    released = [layer.trainable for layer in layers]
    trainable = sum(math.prod(variable.shape) for variable in network.trainable_variables)
    for layer in layers:
        layer.trainable = True
    total = sum(math.prod(variable.shape) for variable in network.trainable_variables)
    for layer, was in zip(layers, released, strict=True):
        layer.trainable = was
    return trainable, total


def _one_epoch(
    trainee: Trainee,
    batches: Batches,
    epoch: int,
    recipe: Recipe,
    reporter: Reporter,
    callbacks: keras.callbacks.CallbackList,
) -> float:
    reporter.epoch_started(epoch + 1, recipe.epochs, len(batches))

    steps, begun = itertools.count(1), itertools.count()

    def after_step(_: int, logs: dict[str, Any] | None = None) -> None:
        loss, step = float((logs or {})["loss"]), next(steps)
        if not math.isfinite(loss):
            raise LookonceError(
                f"the loss became {loss} in epoch {epoch + 1}, step {step}. "
                f"Use a smaller learning rate (it is {recipe.learning_rate:g}); the last good epoch is saved."
            )
        reporter.step_done(loss)
        callbacks.on_train_batch_end(step - 1, logs)

    own: list[Any] = []

    def after_epoch(_: int, logs: dict[str, Any] | None = None) -> None:
        own[:] = _copies(trainee.network)

    def before_step(_: int, logs: dict[str, Any] | None = None) -> None:
        callbacks.on_train_batch_begin(next(begun), logs)

    watch = keras.callbacks.LambdaCallback(
        on_train_batch_begin=before_step, on_train_batch_end=after_step, on_epoch_end=after_epoch
    )
    total = 0.0
    try:
        for part in batches.of_one_size():
            history = trainee.fit(part, epochs=1, verbose=0, shuffle=False, callbacks=[watch])
            # `fit` ends by putting the averages into the network; what follows goes on from its own weights.
            _assign(trainee.network, own)
            total += float(history.history["loss"][-1]) * len(part)
    except Exception as error:
        if batches.error is not None:
            raise batches.error from error
        if not _is_out_of_memory(error):
            raise
        smaller = max(1, recipe.batch_size // 2)
        raise LookonceError(
            f"out of memory with a batch size of {recipe.batch_size} at an input of "
            f"{batches.input_size[1]}x{batches.input_size[0]}. Try a batch size of {smaller}, or a smaller input size."
        ) from error
    return total / len(batches)


def _is_out_of_memory(error: Exception) -> bool:
    text = f"{type(error).__name__} {error}".lower().replace("_", " ")
    signs = (
        "resourceexhausted",
        "resource exhausted",
        "outofmemory",
        "out of memory",
        "not enough memory",
        "memoryerror",
    )
    return any(sign in text for sign in signs)


@contextmanager
def averaged_weights(network: keras.Model, optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Give the network the optimizer's moving averages inside the block, and its own weights back after it."""
    own = _copies(network)
    optimizer.finalize_variable_values(network.trainable_variables)
    try:
        yield
    finally:
        _assign(network, own)


def _copies(network: keras.Model) -> list[Any]:
    return [np.array(ops.convert_to_numpy(variable)) for variable in network.trainable_variables]


def _assign(network: keras.Model, values: Sequence[Any]) -> None:
    for variable, value in zip(network.trainable_variables, values, strict=True):
        variable.assign(value)
