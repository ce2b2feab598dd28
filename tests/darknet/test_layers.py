from pathlib import Path

import pytest

from lookonce.darknet import CfgError, parse_cfg, plan, read_cfg, total_stride

NET = "[net]\nwidth=64\nheight=64\nchannels=3\n"
CONV = "[convolutional]\nfilters={filters}\nsize=3\nstride={stride}\npad=1\n"


def layers_of(*sections: str, net: str = NET):  # type: ignore[no-untyped-def]
    return plan(parse_cfg(net + "".join(sections), "my.cfg"))


def test_float_counts_of_the_published_networks(shared: Path) -> None:
    for name, floats in (("yolov3", 62_001_757), ("yolov3-tiny", 8_858_734)):
        layers = plan(read_cfg(shared / "weights" / "cfg" / f"{name}.cfg"))
        assert sum(layer.conv.floats for layer in layers if layer.conv) == floats


def test_yolov3_heads_have_strides_32_16_8(shared: Path) -> None:
    cfg = read_cfg(shared / "weights" / "cfg" / "yolov3.cfg")
    heads = [layer for layer in plan(cfg, (416, 608)) if layer.kind == "yolo"]
    assert [(h.index, h.channels, h.height, h.width) for h in heads] == [
        (82, 255, 13, 19),
        (94, 255, 26, 38),
        (106, 255, 52, 76),
    ]
    assert total_stride(cfg) == 32


def test_relative_and_absolute_indices_agree(shared: Path) -> None:
    layers = plan(read_cfg(shared / "weights" / "cfg" / "yolov3-tiny.cfg"))
    assert layers[0].inputs == (-1,)
    assert layers[17].inputs == (13,)
    assert layers[20].inputs == (19, 8)
    assert layers[20].channels == 128 + 256
    assert (layers[11].height, layers[11].padding, layers[11].strides) == (13, 1, (1, 1))


def test_route_groups_take_a_slice_of_each_input(shared: Path) -> None:
    layers = plan(read_cfg(shared / "weights" / "cfg" / "yolov4-tiny.cfg"))
    assert (layers[3].inputs, layers[3].in_channels, layers[3].channels) == ((2,), 64, 32)


def test_depthwise_kernels_have_one_input_channel(shared: Path) -> None:
    layers = plan(read_cfg(shared / "weights" / "yolo-fastest" / "yolo-fastest-1.1-xl.cfg"))
    assert layers[2].conv is not None
    assert layers[2].conv.kernel_shape == (16, 1, 3, 3)


def test_convolution_shapes_follow_pad_padding_and_both_strides() -> None:
    odd = "[convolutional]\nfilters=4\nsize=5\npadding=1\nstride=1\nstride_x=2\n"
    (layer,) = layers_of(odd)
    assert (layer.channels, layer.height, layer.width, layer.strides, layer.padding) == (4, 62, 31, (1, 2), 1)


def test_maxpool_shape_matches_darknet() -> None:
    pool, wide, cut = layers_of(
        "[maxpool]\nsize=2\nstride=2\n",
        "[maxpool]\nsize=5\nstride=1\n",
        "[maxpool]\nsize=3\nstride=1\npadding=0\n",
    )
    assert [layer.height for layer in (pool, wide, cut)] == [32, 32, 30]


def test_shortcut_may_add_several_layers() -> None:
    conv = CONV.format(filters=8, stride=1)
    layers = layers_of(conv, conv, conv, "[shortcut]\nfrom=-2,-3\nactivation=linear\n")
    assert layers[3].inputs == (2, 1, 0)
    assert layers[3].channels == 8


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (["[route]\nlayers=-2\n"], r"my.cfg, line 6: \[route\] is layer 0.*it has none"),
        (
            [CONV.format(filters=8, stride=1), "[route]\nlayers=-2\n"],
            r"is layer 1, and layers names -2, that is layer -1",
        ),
        (
            [CONV.format(filters=8, stride=1), "[shortcut]\nfrom=5\n"],
            r"line 11: \[shortcut\] is layer 1, and from names 5",
        ),
        (
            [
                CONV.format(filters=8, stride=1) + "groups=3\n",
                CONV.format(filters=9, stride=1) + "groups=2\n",
            ],
            "groups=3",
        ),
        ([CONV.format(filters=9, stride=1), "[route]\nlayers=-1\ngroups=2\n"], "9 channels of layer 0"),
        ([CONV.format(filters=8, stride=1), "[route]\nlayers=-1\ngroups=2\ngroup_id=2\n"], "expected 0 to 1"),
        (
            [CONV.format(filters=8, stride=1), CONV.format(filters=8, stride=2), "[route]\nlayers=-1,-2\n"],
            "joins layer 1 of 32x32 and layer 0 of 64x64",
        ),
        ([CONV.format(filters=0, stride=1)], "filters=0; expected 1 or more"),
        (["[convolutional]\nsize=80\n"], "does not fit its 64x64 input"),
        ([CONV.format(filters=8, stride=1) + "dilation=2\n"], "dilation"),
        (
            [CONV.format(filters=255, stride=1), "[yolo]\nanchors=1,2, 3,4\nnum=2\nclasses=3\n"],
            r"line 6: \[convolutional\] is layer 0 with filters=255, .*line 10 needs "
            r"\(3 classes \+ 5\) \* 2 masks = 16. Set filters=16",
        ),
        (["[maxpool]\n", "[yolo]\nanchors=1,2\nclasses=3\n"], "3 input channels from layer 0"),
    ],
)
def test_errors_name_the_line_and_the_layer(sections: list[str], message: str) -> None:
    with pytest.raises(CfgError, match=message):
        layers_of(*sections)


def test_input_size_off_the_stride_suggests_the_nearest(shared: Path) -> None:
    cfg = read_cfg(shared / "weights" / "cfg" / "yolov3-tiny.cfg")
    with pytest.raises(CfgError, match=r"600x416 \(width x height\).*multiples of 32.*nearest is 608x416"):
        plan(cfg, (416, 600))
