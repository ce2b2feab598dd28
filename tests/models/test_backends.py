"""TensorFlow, JAX and PyTorch give the same heads and all can train. Run with -s to see the differences."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from lookonce.models.backend import process_number

pytestmark = pytest.mark.slow

BACKENDS = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]

# Trained for one step: groups that are not depthwise, cut and widened channels, a strided odd pool, mish.
SMALL = """[net]
height=32
width=64
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=mish
[route]
layers=-1
groups=2
group_id=1
[convolutional]
batch_normalize=1
filters=8
groups=2
size=3
stride=1
pad=1
activation=swish
[shortcut]
from=-2
activation=linear
[maxpool]
size=3
stride=2
[upsample]
stride=2
[route]
layers=-1,0
[convolutional]
filters=14
size=1
stride=1
pad=1
activation=linear
"""

SCRIPT = """
import sys
from pathlib import Path
import keras, numpy as np
from lookonce.darknet import parse_cfg, read_cfg, read_weights
from lookonce.models.keras import build, load_darknet
shared, out, backend = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
assert keras.backend.backend() == backend
cfg = read_cfg(shared / "weights/yolo-fastest/yolo-fastest-1.1.cfg")
model = build(cfg, (128, 160))
load_darknet(model, read_weights(shared / "weights/yolo-fastest/yolo-fastest-1.1.weights", cfg).layers)
image = np.random.default_rng(0).random((2, 128, 160, 3), np.float32)
heads = [keras.ops.convert_to_numpy(head) for head in model(image, training=False)]
np.savez(out, *heads)

cfg = parse_cfg(sys.argv[4], "small.cfg")
model = build(cfg)
image = np.random.default_rng(0).random((2, *cfg.input_size, 3), np.float32)
model.compile(optimizer=keras.optimizers.SGD(1e-3), loss="mse", jit_compile=False)
before = model.get_layer("conv_000").get_weights()[0].copy()
model.fit(image, np.zeros((2, 16, 32, 14), np.float32), epochs=1, verbose=0)
assert np.isfinite(model.get_layer("conv_000").get_weights()[0]).all()
assert not np.array_equal(before, model.get_layer("conv_000").get_weights()[0])
"""


@pytest.fixture(scope="module")
def heads(shared, tmp_path_factory):
    found = {}
    for backend in BACKENDS:
        out = tmp_path_factory.mktemp(backend) / "heads.npz"
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(shared), str(out), backend, SMALL],
            env={**os.environ, "KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{backend}: {done.stderr[-2000:]}"
        with np.load(out) as arrays:
            found[backend] = [arrays[key] for key in arrays.files]
    return found


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_backends_agree_on_the_heads(heads, backend):
    for number, (mine, other) in enumerate(zip(heads[BACKENDS[0]], heads[backend], strict=True)):
        worst = np.abs(mine - other).max()
        print(f"{BACKENDS[0]}, {backend}, head {number}: {worst:.2e} of {np.abs(mine).max():.3g}")
        assert worst < 1e-4


@pytest.mark.parametrize(
    ("variables", "number"),
    [
        ({}, 0),
        ({"TF_CONFIG": '{"task": {"type": "worker", "index": 1}}'}, 1),
        ({"TF_CONFIG": '{"task": {"type": "worker", "index": 0}}'}, 0),
        ({"TF_CONFIG": '{"task": {"type": "ps", "index": 0}}'}, 1),
        ({"TF_CONFIG": "nothing"}, 0),
        ({"RANK": "3"}, 3),
        ({"OMPI_COMM_WORLD_RANK": "2"}, 2),
    ],
)
def test_process_number_follows_the_launcher(variables, number):
    assert process_number(variables) == number
