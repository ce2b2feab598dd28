"""Stages, averaged weights, decay, and the errors that training can meet."""

import keras
import numpy as np
import pytest
from keras import ops

from lookonce.core.model_card import ModelCard
from lookonce.darknet import parse_cfg
from lookonce.errors import LookonceError
from lookonce.models.keras import build, layers_of
from lookonce.runs.folder import RunFolder
from lookonce.training.data.augment import NONE
from lookonce.training.data.batches import Batches, Sample
from lookonce.training.loop import averaged_weights, count_parameters, train_network
from lookonce.training.loss.yolo import YoloLoss
from lookonce.training.recipe import Recipe, make_optimizer
from lookonce.training.run import TrainingRun

CFG = """[net]
width=64
height=64
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=7
size=1
stride=1
activation=linear
[yolo]
mask=0
anchors=20,20
classes=2
num=1
"""
BODY = 3 * 3 * 3 * 8 + 2 * 8
HEAD = 8 * 7 + 7


def sample(read=None):
    image = np.zeros((64, 64, 3), np.uint8)
    image[20:40, 20:40] = 255
    return Sample(read or (lambda: image), np.array([[20, 20, 40, 40]], np.float32), np.array([1]))


class Recorded(TrainingRun):
    """A run whose measuring is a function of the network, and that records what it would save."""

    def __init__(self, root, validate, **options):
        card = ModelCard("tiny", ("a", "b"), (64, 64), "stretch", CFG)
        super().__init__(RunFolder(root), card, **options)
        self.saved = []
        self.validate = validate
        self.validation = validate

    def measure(self, network):
        return self.validate(network) if self.validate else {}

    def save_best(self, network, row):
        self.saved.append(row["epoch"])

    def save_final(self, network, row):
        self.saved.append(f"final {row['epoch']}")


def train(tmp_path, recipe, samples=None, validate=None, **options):
    cfg = parse_cfg(CFG)
    network = build(cfg)
    run = Recorded(tmp_path, validate, **options)
    done = train_network(
        network,
        YoloLoss(cfg.heads, (64, 64)),
        Batches(samples or [sample()] * 4, 2, (64, 64), "stretch", NONE, 0),
        recipe,
        layers_of(network, [0]),
        run,
    )
    return network, done, run.saved


def test_callbacks_are_called_as_by_fit_and_can_stop_the_run(tmp_path):
    events = []

    class Spy(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            events.append("begin")

        def on_epoch_begin(self, epoch, logs=None):
            events.append(f"epoch {epoch}")

        def on_train_batch_end(self, batch, logs=None):
            events.append(f"batch {batch}")

        def on_epoch_end(self, epoch, logs=None):
            events.append(sorted(logs))
            self.model.stop_training = epoch == 1

        def on_train_end(self, logs=None):
            events.append("end")

    _, done, saved = train(tmp_path, Recipe(epochs=5, batch_size=2), callbacks=[Spy()])
    logs = ["learning_rate", "loss", "stage"]
    each = ["batch 0", "batch 1", logs]
    assert events == ["begin", "epoch 0", *each, "epoch 1", *each, "end"]
    assert done.epochs_done == 2
    assert saved == [1, 2, "final 2"]


def test_frozen_layers_stand_still_in_stage_1_and_move_in_stage_2(tmp_path, capsys):
    kernels, heads = [], []

    def validate(network):
        kernels.append(ops.convert_to_numpy(layers_of(network, 0)[-3].weights[0]).copy())
        heads.append(ops.convert_to_numpy(layers_of(network, 1)[0].kernel).copy())
        return {"val_map": 0.5 + 0.1 * len(kernels)}

    train(tmp_path, Recipe(epochs=4, freeze_epochs=2, batch_size=2), validate=validate)
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (heads[0] != heads[1]).any()
    assert (kernels[2] != kernels[1]).any()
    printed = " ".join(capsys.readouterr().out.split())
    assert f"Stage 1 (body frozen, 2 epochs): training {HEAD} of {BODY + HEAD} parameters" in printed
    assert f"Stage 2 (all layers, 2 epochs): training {BODY + HEAD} of {BODY + HEAD} parameters" in printed


def test_frozen_batch_norm_keeps_its_statistics(tmp_path):
    cfg = parse_cfg(CFG)
    before = [
        ops.convert_to_numpy(weight)
        for layer in layers_of(build(cfg), 0)
        for weight in layer.non_trainable_weights
    ]
    network, _, _ = train(tmp_path, Recipe(epochs=2, freeze_epochs=2, batch_size=2))
    norm = next(layer for layer in layers_of(network, 0) if hasattr(layer, "moving_mean"))
    np.testing.assert_array_equal(ops.convert_to_numpy(norm.moving_mean), before[0])


def test_the_parameter_count_is_of_what_trains():
    network = build(parse_cfg(CFG))
    assert count_parameters(network) == (BODY + HEAD, BODY + HEAD)
    for layer in layers_of(network, [0]):
        layer.trainable = False
    assert count_parameters(network) == (HEAD, BODY + HEAD)
    assert len(network.trainable_variables) == 2


def test_best_epoch_is_kept_and_patience_ends_the_run(tmp_path):
    scores = iter([0.2, 0.6, 0.4, 0.5, 0.6, 0.1])
    _, done, saved = train(
        tmp_path, Recipe(epochs=6, patience=3, batch_size=2), validate=lambda _: {"val_map": next(scores)}
    )
    assert saved == [1, 2, "final 5"]
    assert (done.best_epoch, done.best_score, done.epochs_done) == (2, 0.6, 5)


def test_averaged_weights_are_the_mean_of_the_past_and_are_put_back():
    network = build(parse_cfg(CFG))
    optimizer = make_optimizer(Recipe(), network.trainable_variables, 1, 10)
    own = []
    for step in range(5):
        gradients = [ops.ones(variable.shape) * (step + 1) for variable in network.trainable_variables]
        optimizer.apply(gradients, network.trainable_variables)
        own.append(ops.convert_to_numpy(network.trainable_variables[0]).copy())
    expected = own[0]
    for value in own[1:]:
        expected = 0.9 * expected + 0.1 * value
    with averaged_weights(network, optimizer):
        np.testing.assert_allclose(ops.convert_to_numpy(network.trainable_variables[0]), expected, atol=1e-6)
    np.testing.assert_array_equal(ops.convert_to_numpy(network.trainable_variables[0]), own[-1])


def test_training_goes_on_from_its_own_weights_not_from_the_averages(tmp_path):
    averages = []

    def validate(network):
        averages.append(ops.convert_to_numpy(layers_of(network, 1)[0].kernel).copy())
        return {"val_map": 0.1}

    network, _, _ = train(tmp_path, Recipe(epochs=3, batch_size=2, learning_rate=0.01), validate=validate)
    own = ops.convert_to_numpy(layers_of(network, 1)[0].kernel)
    assert np.abs(own - averages[-1]).max() > 1e-4
    assert np.abs(own - averages[0]).mean() > 1.5 * np.abs(averages[-1] - averages[0]).mean()


def test_weight_decay_touches_kernels_only():
    network = build(parse_cfg(CFG))
    for variable in network.trainable_variables:
        variable.assign(ops.ones(variable.shape))
    optimizer = make_optimizer(Recipe(weight_decay=0.5), network.trainable_variables, 1, 10)
    optimizer.apply(
        [ops.zeros(variable.shape) for variable in network.trainable_variables], network.trainable_variables
    )
    for variable in network.trainable_variables:
        assert (ops.convert_to_numpy(variable) < 1).all() == (len(variable.shape) > 1), variable.path


def test_an_infinite_loss_is_explained(tmp_path):
    with pytest.raises(LookonceError, match=r"the loss became (nan|inf).*smaller learning rate"):
        train(tmp_path, Recipe(epochs=40, batch_size=2, learning_rate=1e30))


def test_out_of_memory_says_which_batch_size_to_try(tmp_path):
    greedy = sample(lambda: np.empty((1 << 46,), np.uint8))
    with pytest.raises(LookonceError, match=r"out of memory.* Try a batch size of 1"):
        train(tmp_path, Recipe(epochs=1, batch_size=2), [greedy] * 4)


def test_a_image_that_vanishes_while_training_is_named(tmp_path):
    def gone():
        raise LookonceError("cat.jpg: no such image")

    with pytest.raises(LookonceError, match=r"cat\.jpg"):
        train(tmp_path, Recipe(epochs=1, batch_size=2), [sample(gone)] * 4)
