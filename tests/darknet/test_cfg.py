from pathlib import Path

import numpy as np
import pytest

from lookonce.darknet import CfgError, parse_cfg, plan, read_cfg

SMALL = """# a comment
[net]
width = 64
height=32   # the low side

[convolutional]
filters=21
size=1
; another comment
activation = linear

[yolo]
mask = 0,1,2
anchors = 10,14,  23,27,  37,58
classes=2
num=3
"""


def cfg_files(shared: Path) -> list[Path]:
    return sorted((shared / "weights").rglob("*.cfg"))


def test_every_real_cfg_is_planned_and_round_trips(shared: Path) -> None:
    files = cfg_files(shared)
    assert len(files) == 8
    for path in files:
        cfg = read_cfg(path)
        again = parse_cfg(cfg.text, str(path))
        assert again == cfg
        assert cfg.text.encode() == path.read_bytes()
        assert plan(cfg)[-1].kind == "yolo"


def test_options_are_read_with_types_and_defaults() -> None:
    cfg = parse_cfg(SMALL)
    assert cfg.input_size == (32, 64)
    assert [section.kind for section in cfg.layers] == ["convolutional", "yolo"]
    assert cfg.layers[0].text("activation") == "linear"
    assert cfg.layers[0].integer("stride", 1) == 1
    assert cfg.layers[1].integers("mask") == (0, 1, 2)
    assert cfg.layers[0].line == 6


def test_heads_have_darknets_defaults() -> None:
    (head,) = parse_cfg(SMALL).heads
    assert (head.layer, head.classes, head.mask) == (1, 2, (0, 1, 2))
    assert (head.scale_x_y, head.ignore_thresh, head.truth_thresh, head.iou_thresh) == (1.0, 0.5, 1.0, 1.0)
    assert (head.iou_normalizer, head.iou_loss, head.nms_kind, head.new_coords) == (
        1.0,
        "mse",
        "default",
        False,
    )
    assert head.max_delta == float("inf")
    np.testing.assert_array_equal(head.anchors, np.asarray([[10, 14], [23, 27], [37, 58]], np.float32))


def test_replace_changes_only_the_named_lines() -> None:
    cfg = parse_cfg(SMALL)
    changed = cfg.replace(
        {"net": {"height": "96", "channels": "1"}, 0: {"filters": "27"}, 1: {"classes": "4"}}
    )
    expected = SMALL.replace("height=32 ", "height=96 ").replace(
        "# the low side\n", "# the low side\nchannels=1\n"
    )
    assert changed.text == expected.replace("filters=21", "filters=27").replace("classes=2", "classes=4")
    assert changed.input_size == (96, 64)


def test_replace_adds_missing_keys_in_order_at_the_end_of_the_section() -> None:
    changed = parse_cfg(SMALL).replace({0: {"stride": "1", "pad": "1"}})
    assert "activation = linear\nstride=1\npad=1\n\n[yolo]" in changed.text


def test_replace_keeps_windows_line_ends() -> None:
    cfg = parse_cfg(SMALL.replace("\n", "\r\n"))
    changed = cfg.replace({0: {"filters": "27", "stride": "1"}})
    assert "filters=27\r\n" in changed.text
    assert "stride=1\r\n" in changed.text
    assert changed.text.count("\n") == changed.text.count("\r\n")


def test_first_of_repeated_keys_counts() -> None:
    cfg = parse_cfg(SMALL.replace("size=1", "size=1\nsize=3"))
    assert cfg.layers[0].integer("size") == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[net]", "", r"my.cfg, line 3: 'width = 64'"),
        ("[net]", "[yolo]", r"line 2: \[yolo\] is the first section"),
        ("size=1", "size 1", r"line 8 'size 1'; expected key=value"),
        (
            "[convolutional]",
            "[lstm]",
            r"line 6: \[lstm\].*convolutional",
        ),
        ("height=32 ", "height=tall ", r"line 4: \[net\] height is 'tall'"),
        ("height=32 ", "height=32.5 ", r"line 4: \[net\] height is 32.5"),
        ("height=32 ", "height=inf ", r"line 4: .*finite"),
        ("height=32 ", "high=32 ", r"line 2: \[net\] has no height"),
        ("num=3", "num=4", r"line 14: .* num=4.* 6 .* 8.*Set num=3"),
        ("mask = 0,1,2", "mask = 0,1,3", r"line 13: .*mask names anchor 3; the 3 anchors are 0 to 2"),
        ("10,14,", "10,0,", r"line 14: .*size 0"),
        ("classes=2", "classes=0", r"line 15: .*classes=0"),
    ],
)
def test_errors_name_the_line(old: str, new: str, message: str) -> None:
    with pytest.raises(CfgError, match=message):
        plan(parse_cfg(SMALL.replace(old, new), "my.cfg"))


def test_errors_name_a_file_that_is_not_a_cfg(tmp_path: Path) -> None:
    with pytest.raises(CfgError, match=r"none\.cfg: cannot be read"):
        read_cfg(tmp_path / "none.cfg")
    (tmp_path / "a.cfg").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(CfgError, match="Were cfg and weights swapped"):
        read_cfg(tmp_path / "a.cfg")
    with pytest.raises(CfgError, match="no \\[section\\] found"):
        parse_cfg("# nothing here\n")
