"""Model files: whole or not at all, readable without lookonce, and clear about what is wrong."""

import os
import resource
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from lookonce.core.model_card import ModelCard
from lookonce.darknet import parse_cfg, random_weights, write_weights
from lookonce.errors import LookonceError
from lookonce.models.keras import build, load_darknet, save_model
from lookonce.models.open import open_model

# Mish, swish, groups, a depthwise layer, unequal shortcut, an odd pool, and logistic heads with new_coords.
CFG = """[net]
height=32
width=64
channels=3
{net}
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
groups=4
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

[dropout]
probability=.2

[route]
layers=-1,0

[convolutional]
filters=14
size=1
stride=1
pad=1
activation=logistic

[yolo]
mask=0,1
anchors=10,14, 23,27
classes=2
num=2
new_coords=1
scale_x_y=2.0
"""

OPEN_WITHOUT_LOOKONCE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lookonce":
            raise ImportError("lookonce is blocked")
sys.meta_path.insert(0, Blocked())
import keras, numpy as np
try:
    import lookonce
except ImportError:
    pass
else:
    raise SystemExit("lookonce was importable")
model = keras.saving.load_model(sys.argv[1])
image = np.load(sys.argv[2])
np.save(sys.argv[3], np.asarray(model(image, training=False)))
"""


def card(cfg):
    return ModelCard("tiny", ("cat", "dog"), cfg.input_size, "stretch", cfg.text)


@pytest.fixture
def cfg():
    return parse_cfg(CFG.format(net=""), "small.cfg")


@pytest.fixture
def model(cfg):
    network = build(cfg)
    load_darknet(network, random_weights(cfg, seed=7).layers)
    return network


def heads(network, seed=0):
    image = np.random.default_rng(seed).random((1, 32, 64, 3), np.float32)
    head = network(image, training=False)
    assert head.shape == (1, 16, 32, 14)
    return keras.ops.convert_to_numpy(head)


@pytest.fixture
def darknet_pair(tmp_path, cfg):
    (tmp_path / "m.cfg").write_text(CFG.format(net=""))
    write_weights(tmp_path / "m.weights", cfg, random_weights(cfg, seed=7))
    return tmp_path / "m.cfg", tmp_path / "m.weights"


def test_saved_model_round_trips(tmp_path, cfg, model):
    save_model(tmp_path / "m.keras", model, card(cfg))
    again, read = open_model(tmp_path / "m.keras")
    assert read.classes == ("cat", "dog")
    assert read.cfg == cfg.text
    assert read.lookonce
    np.testing.assert_array_equal(heads(again), heads(model))
    assert os.listdir(tmp_path) == ["m.keras"]


def test_plain_keras_opens_the_file_without_lookonce(tmp_path, cfg, model):
    model.compile(
        optimizer="adam", loss=lambda truth, guess: keras.ops.mean(guess)
    )  # must not get into the file
    save_model(tmp_path / "m.keras", model, card(cfg))
    np.save(tmp_path / "in.npy", np.random.default_rng(0).random((1, 32, 64, 3), np.float32))
    files = [str(tmp_path / name) for name in ("m.keras", "in.npy", "out.npy")]
    done = subprocess.run(
        [sys.executable, "-c", OPEN_WITHOUT_LOOKONCE, *files], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), heads(model), atol=1e-6)


def test_full_disk_leaves_the_old_model_only(small_disk, cfg, model):
    path = small_disk / "m.keras"
    save_model(path, model, card(cfg))
    before = path.read_bytes()
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(LookonceError, match=r"m\.keras.*No space left"):
        save_model(path, model, card(cfg))
    assert path.read_bytes() == before
    assert sorted(os.listdir(small_disk)) == ["filler", "m.keras"]


def test_interrupted_write_leaves_no_file(tmp_path, cfg, model):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
        with pytest.raises(LookonceError, match=r"m\.keras"):
            save_model(tmp_path / "m.keras", model, card(cfg))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


def test_folder_that_cannot_be_created_is_reported(tmp_path, cfg, model):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LookonceError, match="file"):
        save_model(tmp_path / "file" / "m.keras", model, card(cfg))


def test_missing_file_is_reported(tmp_path):
    with pytest.raises(LookonceError, match=r"none\.keras.*(no such|not found|does not exist)"):
        open_model(tmp_path / "none.keras")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", b"PK\x03\x04 cut off"])
def test_other_content_is_refused(tmp_path, content):
    (tmp_path / "m.keras").write_bytes(content)
    with pytest.raises(LookonceError, match=r"m\.keras: not a model"):
        open_model(tmp_path / "m.keras")


def test_another_zip_file_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(LookonceError, match="Keras network"):
        open_model(tmp_path / "m.keras")


def test_truncated_or_damaged_model_is_refused(tmp_path, cfg, model):
    save_model(tmp_path / "m.keras", model, card(cfg))
    data = bytearray((tmp_path / "m.keras").read_bytes())
    (tmp_path / "cut.keras").write_bytes(data[: len(data) // 2])
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        start = archive.getinfo("model.weights.h5").header_offset + 2000
    data[start : start + 3000] = b"\xff" * 3000
    (tmp_path / "bad.keras").write_bytes(data)
    for name in ("cut", "bad"):
        with pytest.raises(LookonceError, match=rf"{name}\.keras"):
            open_model(tmp_path / f"{name}.keras")


def test_keras_model_without_card_is_refused(tmp_path, model):
    model.save(tmp_path / "m.keras")
    with pytest.raises(LookonceError, match=r"without lookonce\.json"):
        open_model(tmp_path / "m.keras")


def test_a_darknet_pair_opens_like_a_model(darknet_pair, model):
    network, read = open_model(darknet_pair[0], weights=darknet_pair[1])
    np.testing.assert_allclose(heads(network), heads(model), atol=1e-6)
    assert (read.name, read.classes, read.input_size) == ("m", ("class_0", "class_1"), (32, 64))
    assert read.resize == "letterbox"
    assert open_model(darknet_pair[0], weights=darknet_pair[1], resize="stretch")[1].resize == "stretch"


@pytest.mark.parametrize(("value", "expected"), [("1", "letterbox"), ("0", "stretch")])
def test_cfg_decides_how_images_are_resized(darknet_pair, value, expected):
    darknet_pair[0].write_text(CFG.format(net=f"letter_box={value}"))
    assert open_model(darknet_pair[0], weights=darknet_pair[1])[1].resize == expected


def test_number_of_names_must_match_the_classes(tmp_path, darknet_pair):
    (tmp_path / "two.names").write_text("cat\ndog\n")
    assert open_model(*darknet_pair, classes=tmp_path / "two.names")[1].classes == ("cat", "dog")
    (tmp_path / "three.names").write_text("cat\ndog\ncow\n")
    with pytest.raises(LookonceError, match=r"three\.names: 3 class names.*2 classes"):
        open_model(*darknet_pair, classes=tmp_path / "three.names")


def test_a_cfg_without_or_with_half_its_weights_is_refused(darknet_pair):
    with pytest.raises(LookonceError, match="alone"):
        open_model(darknet_pair[0])
    with pytest.raises(LookonceError, match="weights alone"):
        open_model(darknet_pair[1])
    data = darknet_pair[1].read_bytes()
    floats = 4 * 8 + 8 * 27  # the first convolution, after a header of 20 bytes
    darknet_pair[1].write_bytes(data[: 20 + 4 * floats])
    with pytest.raises(LookonceError, match="ends after layer 0"):
        open_model(*darknet_pair)
