"""The Keras model that a cfg becomes: names, Darknet's layer rules against plain numpy, readable errors."""

import keras
import numpy as np
import pytest

from lookonce.darknet import parse_cfg, plan, random_weights
from lookonce.errors import LookonceError
from lookonce.models.keras import build, layers_of, load_darknet, to_darknet

CONV = (
    "[convolutional]\nbatch_normalize=1\nfilters={filters}\n"
    "size=3\nstride={stride}\npad=1\nactivation=leaky\n"
)


def net(body, height=12, width=20):
    return parse_cfg(f"[net]\nheight={height}\nwidth={width}\nchannels=3\n{body}", "test.cfg")


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).random((2, height, width, 3), np.float32)


def run(cfg, image, weights=None):
    model = build(cfg)
    if weights is not None:
        load_darknet(model, weights.layers)
    out = model(image, training=False)
    return [keras.ops.convert_to_numpy(head) for head in (out if isinstance(out, (list, tuple)) else [out])]


def darknet_pool(image, size, stride, padding):
    """Darknet's forward_maxpool_layer, written out."""
    batch, height, width, channels = image.shape
    out_h, out_w = (height + padding - size) // stride + 1, (width + padding - size) // stride + 1
    out = np.full((batch, out_h, out_w, channels), -np.inf, np.float32)
    for i in range(out_h):
        for j in range(out_w):
            for n in range(size):
                for m in range(size):
                    y, x = i * stride + n - padding // 2, j * stride + m - padding // 2
                    if 0 <= y < height and 0 <= x < width:
                        out[:, i, j] = np.maximum(out[:, i, j], image[:, y, x])
    return out


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [
        (2, 2, 1),
        (2, 1, 1),
        (3, 2, 2),
        (3, 2, 1),
        (5, 1, 4),
        (13, 1, 12),
        (2, 2, 0),
        (3, 3, 2),
        (5, 2, 3),
        (4, 2, 2),
    ],
)
def test_max_pool_matches_darknet(size, stride, padding, odd):
    option = "" if padding == size - 1 else f"padding={padding}\n"
    # The input itself must be a multiple of the stride, so a first pool without padding makes odd grids.
    first = "[maxpool]\nsize=2\nstride=1\npadding=0\n" if odd else ""
    cfg = net(f"{first}[maxpool]\nsize={size}\nstride={stride}\n{option}", 12, 18)
    image = random_image(12, 18) - 2  # all negative: a zero from padding would win
    expected = darknet_pool(image, 2, 1, 0) if odd else image
    np.testing.assert_array_equal(run(cfg, image)[0], darknet_pool(expected, size, stride, padding))


def test_stride_two_convolution_pads_all_sides_equally():
    cfg = net("[convolutional]\nfilters=4\nsize=3\nstride=2\npad=1\nactivation=linear\n")
    weights = random_weights(cfg, seed=1)
    image = random_image(12, 20)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
    expected = np.einsum("bijchw,ochw->bijo", windows, weights.layers[0].kernel) + weights.layers[0].bias
    np.testing.assert_allclose(run(cfg, image, weights)[0], expected, atol=1e-5)


@pytest.mark.parametrize(("groups", "filters"), [(8, 8), (8, 16), (2, 12)])
def test_grouped_convolutions_match_darknet(groups, filters):
    body = (
        f"[convolutional]\nfilters={filters}\ngroups={groups}\nsize=3\nstride=1\npad=1\nactivation=linear\n"
    )
    cfg = net("[convolutional]\nfilters=8\nsize=1\nstride=1\npad=1\nactivation=linear\n" + body)
    weights = random_weights(cfg, seed=1)
    image = random_image(12, 20)
    first, second = weights.layers[0], weights.layers[1]
    middle = image @ first.kernel[:, :, 0, 0].T + first.bias
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(middle, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (1, 2)
    )
    each_in, each_out = 8 // groups, filters // groups
    parts = [
        np.einsum(
            "bijchw,ochw->bijo",
            windows[:, :, :, g * each_in : (g + 1) * each_in],
            second.kernel[g * each_out : (g + 1) * each_out],
        )
        for g in range(groups)
    ]
    np.testing.assert_allclose(
        run(cfg, image, weights)[0], np.concatenate(parts, -1) + second.bias, atol=1e-4
    )


def test_route_takes_the_group_of_each_input():
    one = "[convolutional]\nfilters={}\nsize=1\nstride=1\npad=1\nactivation=linear\n"
    cfg = net(one.format(6) + one.format(4) + "[route]\nlayers=-1,0\ngroups=2\ngroup_id=1\n")
    weights = random_weights(cfg, seed=2)
    image = random_image(12, 20)
    first = image @ weights.layers[0].kernel[:, :, 0, 0].T + weights.layers[0].bias
    second = first @ weights.layers[1].kernel[:, :, 0, 0].T + weights.layers[1].bias
    expected = np.concatenate([second[..., 2:], first[..., 3:]], -1)
    np.testing.assert_allclose(run(cfg, image, weights)[0], expected, atol=1e-5)


@pytest.mark.parametrize(("first", "second"), [(4, 6), (6, 4), (5, 5)])
def test_shortcut_adds_the_overlap_of_unequal_channels(first, second):
    one = "[convolutional]\nfilters={}\nsize=1\nstride=1\npad=1\nactivation=linear\n"
    cfg = net(one.format(first) + one.format(second) + "[shortcut]\nfrom=-2\nactivation=linear\n")
    weights = random_weights(cfg, seed=3)
    image = random_image(12, 20)
    a = image @ weights.layers[0].kernel[:, :, 0, 0].T + weights.layers[0].bias
    expected = a @ weights.layers[1].kernel[:, :, 0, 0].T + weights.layers[1].bias
    overlap = min(first, second)
    expected[..., :overlap] += a[..., :overlap]
    np.testing.assert_allclose(run(cfg, image, weights)[0], expected, atol=1e-5)


def test_layers_are_named_by_their_cfg_number():
    cfg = net(
        CONV.format(filters=4, stride=2) + "[maxpool]\nsize=2\nstride=2\n" + CONV.format(filters=8, stride=1)
    )
    model = build(cfg)
    names = {index: [layer.name for layer in layers_of(model, index)] for index in range(3)}
    assert names == {
        0: ["pad_000", "conv_000", "norm_000", "act_000"],
        1: ["pool_001"],
        2: ["conv_002", "norm_002", "act_002"],
    }
    assert [layer.name for layer in layers_of(model, [1, 2])] == names[1] + names[2]
    assert model.get_layer("norm_000").epsilon == 1e-5


def test_weights_round_trip_bit_by_bit():
    grouped = (
        "[convolutional]\nbatch_normalize=1\nfilters=8\ngroups=8\nsize=3\nstride=2\npad=1\nactivation=mish\n"
    )
    cfg = net(
        CONV.format(filters=8, stride=1) + grouped + "[convolutional]\nfilters=5\nsize=1\nactivation=linear\n"
    )
    weights = random_weights(cfg, seed=4)
    model = build(cfg)
    load_darknet(model, weights.layers)
    back = to_darknet(model, cfg, weights.header)
    assert back.header == weights.header
    assert back.layers.keys() == weights.layers.keys() == {layer.index for layer in plan(cfg) if layer.conv}
    for index, layer in weights.layers.items():
        for name in ("bias", "kernel", "scale", "mean", "variance"):
            before, after = getattr(layer, name), getattr(back.layers[index], name)
            assert (before is None and after is None) or before.tobytes() == after.tobytes(), (index, name)


def test_weights_of_another_cfg_are_refused_before_anything_is_set():
    cfg = net(CONV.format(filters=8, stride=1) + CONV.format(filters=8, stride=1))
    other = net(CONV.format(filters=8, stride=1) + CONV.format(filters=9, stride=1))
    model = build(cfg)
    before = [array.copy() for array in model.get_weights()]
    with pytest.raises(LookonceError, match=r"conv_001.*another cfg"):
        load_darknet(model, random_weights(other, seed=5).layers)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_unknown_activation_names_file_line_and_layer():
    with pytest.raises(LookonceError, match=r"test\.cfg, line \d+: .*gelu2"):
        build(net("[convolutional]\nfilters=4\nsize=1\nactivation=gelu2\n"))
