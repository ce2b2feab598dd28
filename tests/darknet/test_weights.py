import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lookonce.darknet import (
    NAMES,
    Cfg,
    Header,
    WeightsError,
    floats_of,
    generate,
    known_fits,
    parse_cfg,
    published,
    random_weights,
    read_cfg,
    read_weights,
    write_weights,
)
from lookonce.errors import LookonceError

SMALL = """[net]
width=32
height=32
[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
[convolutional]
filters=14
activation=linear
[yolo]
classes=2
num=2
anchors=3,4, 5,6
"""
FIRST, SECOND = 4 * (4 + 27), 14 * 5


@pytest.fixture
def cfg() -> Cfg:
    return parse_cfg(SMALL, "small.cfg")


def file_of(path: Path, floats: int, value: float = 0.5) -> Path:
    path.write_bytes(Header().to_bytes() + np.full(floats, value, "<f4").tobytes())
    return path


@pytest.mark.parametrize(
    ("cfg_name", "weights_name", "complete"),
    [
        ("yolo-fastest/yolo-fastest-1.1-xl.cfg", "yolo-fastest/yolo-fastest-1.1-xl.weights", True),
        ("yolo-fastest/yolo-fastest-1.1.cfg", "yolo-fastest/yolo-fastest-1.1.weights", True),
        ("cfg/yolov3-tiny.cfg", "yolov3-tiny-partial/yolov3-tiny.real-first5.weights", False),
    ],
)
def test_real_files_round_trip_byte_for_byte(
    shared: Path, tmp_path: Path, cfg_name: str, weights_name: str, complete: bool
) -> None:
    real, cfg = shared / "weights" / weights_name, read_cfg(shared / "weights" / cfg_name)
    weights = read_weights(real, cfg)
    assert weights.complete is complete
    write_weights(tmp_path / "copy.weights", cfg, weights)
    assert (tmp_path / "copy.weights").read_bytes() == real.read_bytes()
    assert os.listdir(tmp_path) == ["copy.weights"]


def test_a_partial_file_holds_the_layers_before_its_end(shared: Path) -> None:
    path = shared / "weights" / "yolov3-tiny-partial" / "yolov3-tiny.real-first5.weights"
    weights = read_weights(path, read_cfg(shared / "weights" / "cfg" / "yolov3-tiny.cfg"))
    assert list(weights.layers) == [0, 2, 4, 6, 8]
    assert weights.layers[8].kernel.shape == (256, 128, 3, 3)
    assert weights.layers[8].variance is not None


@pytest.mark.parametrize(("minor", "wide"), [(2, True), (1, False)])
def test_both_widths_of_seen_are_read(tmp_path: Path, cfg: Cfg, minor: int, wide: bool) -> None:
    head = struct.pack("<3iQ" if wide else "<3iI", 0, minor, 0, 7_000)
    path = tmp_path / "a.weights"
    path.write_bytes(head + np.arange(FIRST + SECOND, dtype="<f4").tobytes())
    weights = read_weights(path, cfg)
    assert (weights.header.seen, weights.header.seen_bytes) == (7_000, 8 if wide else 4)
    first = weights.layers[0]
    assert first.scale is not None
    assert (first.bias[0], first.scale[0], first.kernel[0, 0, 0, 0]) == (0, 4, 16)
    assert weights.layers[1].scale is None
    write_weights(tmp_path / "b.weights", cfg, weights)
    assert (tmp_path / "b.weights").read_bytes() == path.read_bytes()


def test_truncated_weights_name_the_layer(tmp_path: Path, cfg: Cfg) -> None:
    path = file_of(tmp_path / "cut.weights", FIRST + SECOND - 3)
    message = (
        r"cut.weights: ends inside layer 1 \(convolution 1x1, 14 filters, small.cfg line 9\): 67 of its 70"
    )
    with pytest.raises(WeightsError, match=message):
        read_weights(path, cfg)


def test_floats_left_over_are_counted_and_the_classes_found(tmp_path: Path, cfg: Cfg) -> None:
    path = file_of(tmp_path / "more.weights", FIRST + SECOND + 2 * 5 * 3)
    with pytest.raises(WeightsError, match=r"30 floats are left over.*this cfg with 5 classes instead of 2"):
        read_weights(path, cfg)


@pytest.mark.parametrize("classes", [80, 20])
def test_published_weights_read_with_a_custom_cfg_name_their_own(tmp_path: Path, classes: int) -> None:
    path = file_of(tmp_path / "yolov3-tiny.weights", floats_of(published("yolov3-tiny", classes)))
    with pytest.raises(WeightsError, match=f"yolov3-tiny with {classes} classes"):
        read_weights(path, generate("yolov3-tiny", 2))


def test_backbone_read_with_another_network_is_named(tmp_path: Path) -> None:
    path = file_of(tmp_path / "backbone", floats_of(published("yolov3-tiny"), 15))
    with pytest.raises(WeightsError, match=r"yolov3-tiny\.conv\.15 \(read with yolov3-tiny\)"):
        read_weights(path, generate("yolov4-tiny", 2))


def test_known_counts_are_unique_and_match_published_files() -> None:
    for name in NAMES:
        assert [fit.network for fit in known_fits(floats_of(published(name)))] == [name]
    assert floats_of(published("yolov3"), 74) == 40_620_640
    assert str(known_fits(40_620_640)[0]).startswith("darknet53.conv.74")


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, r"layer 0 .*not finite"), (-1.0, r"layer 0 .*variance -1 in filter 0; ")],
)
def test_invalid_values_are_reported(tmp_path: Path, cfg: Cfg, value: float, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        read_weights(file_of(tmp_path / "bad.weights", FIRST + SECOND, value), cfg)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes"),
        (b"PK\x03\x04" + bytes(40), "not a Darknet weights file"),
        (Header().to_bytes(), "no weights"),
        (Header().to_bytes() + bytes(6), "truncated"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, cfg: Cfg, data: bytes, message: str) -> None:
    (tmp_path / "a.weights").write_bytes(data)
    with pytest.raises(WeightsError, match=message):
        read_weights(tmp_path / "a.weights", cfg)
    with pytest.raises(WeightsError, match=r"gone\.weights: cannot be read"):
        read_weights(tmp_path / "gone.weights", cfg)


def test_full_disk_leaves_the_old_file_unchanged(small_disk: Path) -> None:
    cfg = generate("yolov3-tiny", 2)
    path = small_disk / "old.weights"
    path.write_bytes(b"old")
    with pytest.raises(LookonceError, match="No space left on device"):
        write_weights(path, cfg, random_weights(cfg, 1))
    assert path.read_bytes() == b"old"
    assert os.listdir(small_disk) == ["old.weights"]


def test_writing_checks_shapes_and_gaps(tmp_path: Path, cfg: Cfg) -> None:
    weights = random_weights(cfg, 1)
    with pytest.raises(WeightsError, match="layer 0 has no weights although layer 1 has"):
        write_weights(tmp_path / "a", cfg, replace(weights, layers={1: weights.layers[1]}))
    with pytest.raises(WeightsError, match=r"layer 0 .*arrays"):
        write_weights(tmp_path / "a", cfg, replace(weights, layers={0: weights.layers[1]}))
    with pytest.raises(WeightsError, match="layer 2 is not a convolution"):
        write_weights(tmp_path / "a", cfg, replace(weights, layers={**weights.layers, 2: weights.layers[1]}))
    assert not os.listdir(tmp_path)


def test_random_weights_repeat_by_seed_and_fit(tmp_path: Path) -> None:
    cfg = generate("yolov4-tiny", 2)
    one, same, other = (random_weights(cfg, seed) for seed in (3, 3, 4))
    write_weights(tmp_path / "a", cfg, one)
    read = read_weights(tmp_path / "a", cfg)
    assert read.complete
    np.testing.assert_array_equal(read.layers[0].kernel, same.layers[0].kernel)
    assert not np.array_equal(one.layers[0].kernel, other.layers[0].kernel)
