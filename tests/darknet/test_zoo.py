from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from lookonce.darknet import Cfg, customise, generate, parse_cfg, plan, published, read_cfg, spread
from lookonce.darknet.zoo import NAMES
from lookonce.errors import LookonceError

STRUCTURAL = [
    "batch_normalize",
    "filters",
    "size",
    "stride",
    "pad",
    "padding",
    "groups",
    "group_id",
    "activation",
    "layers",
    "from",
    "mask",
    "num",
    "classes",
    "scale_x_y",
    "iou_loss",
    "iou_normalizer",
    "iou_thresh",
    "nms_kind",
    "max_delta",
    "beta_nms",
    "ignore_thresh",
]
NUMBERS = ("scale_x_y", "iou_normalizer", "iou_thresh", "max_delta", "beta_nms", "ignore_thresh")


def described(cfg: Cfg, without: tuple[str, ...] = ()) -> list[object]:
    rows: list[object] = []
    for layer in plan(cfg, (416, 416)):
        options = {key: layer.section.options.get(key) for key in STRUCTURAL if key not in without}
        options |= {key: float(options[key]) for key in NUMBERS if options.get(key)}  # type: ignore[arg-type]
        anchors = layer.section.numbers("anchors") if layer.kind == "yolo" else ()
        rows.append((layer.kind, layer.inputs, layer.channels, layer.height, layer.conv, options, anchors))
    return rows


@pytest.mark.parametrize("name", ["yolov3", "yolov3-tiny", "yolov3-spp", "yolov4-tiny"])
def test_published_networks_equal_darknets_cfg_layer_for_layer(shared: Path, name: str) -> None:
    theirs = read_cfg(shared / "weights" / "cfg" / f"{name}.cfg")
    ours = published(name)
    assert ours.input_size == theirs.input_size
    assert described(ours) == described(theirs)


def test_yolov3_with_20_classes_equals_the_voc_cfg(shared: Path) -> None:
    voc = read_cfg(shared / "weights" / "cfg" / "yolov3-voc.cfg")
    ours = generate("yolov3", 20)
    assert ours.input_size == voc.input_size
    assert described(ours, ("ignore_thresh",)) == described(voc, ("ignore_thresh",))


@pytest.mark.parametrize("name", NAMES)
def test_every_network_is_planned_for_few_classes_and_odd_sizes(name: str) -> None:
    cfg = generate(name, 3, input_size=(224, 352))
    assert plan(cfg)[-1].kind == "yolo"
    assert all(head.classes == 3 for head in cfg.heads)
    assert parse_cfg(cfg.text, cfg.source) == cfg


def test_yolov4_has_the_published_float_count_and_head_options() -> None:
    cfg = published("yolov4")
    assert len(cfg.layers) == 162
    assert sum(layer.conv.floats for layer in plan(cfg) if layer.conv) == 64_429_405
    assert [head.scale_x_y for head in cfg.heads] == [1.2, 1.1, 1.05]
    assert [head.mask for head in cfg.heads] == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    for head in cfg.heads:
        assert (head.iou_loss, head.iou_normalizer, head.iou_thresh) == ("ciou", 0.07, 0.213)
        assert (head.nms_kind, head.beta_nms, head.max_delta) == ("greedynms", 0.6, 5.0)
    assert [row.height for row in plan(cfg) if row.kind == "yolo"] == [76, 38, 19]


def test_yolov4_tiny_3l_predicts_on_three_grids() -> None:
    layers = plan(published("yolov4-tiny-3l"))
    assert [layer.height for layer in layers if layer.kind == "yolo"] == [19, 38, 76]


@pytest.mark.parametrize(
    ("count", "heads", "masks"),
    [
        (9, 3, ((0, 1, 2), (3, 4, 5), (6, 7, 8))),
        (6, 2, ((0, 1, 2), (3, 4, 5))),
        (7, 3, ((0, 1), (2, 3), (4, 5, 6))),
        (5, 3, ((0,), (1, 2), (3, 4))),
        (3, 3, ((0,), (1,), (2,))),
    ],
)
def test_anchors_are_spread_large_to_coarse(
    count: int, heads: int, masks: tuple[tuple[int, ...], ...]
) -> None:
    assert spread(count, heads) == masks


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [3, 4, 7, 11])
def test_every_anchor_has_one_head_and_large_ones_the_coarse(name: str, count: int) -> None:
    anchors = np.random.default_rng(count).uniform(8, 300, (count, 2))
    cfg = generate(name, 2, anchors)
    heads = {layer.index: layer.height for layer in plan(cfg) if layer.kind == "yolo"}
    used = list(chain.from_iterable(head.mask for head in cfg.heads))
    assert sorted(used) == list(range(count))
    areas = [head.anchors.prod(axis=1).mean() for head in sorted(cfg.heads, key=lambda h: -heads[h.layer])]
    assert areas == sorted(areas)


def test_too_few_anchors_and_unknown_names_are_refused() -> None:
    with pytest.raises(LookonceError, match=r"2 anchors .* 3 heads"):
        generate("yolov3", 2, [[10, 10], [20, 20]])
    with pytest.raises(LookonceError, match=r"yolov9.*yolov3"):
        generate("yolov9", 2)
    with pytest.raises(LookonceError, match="pairs"):
        generate("yolov3", 2, [[10, -1]] * 3)


def test_any_cfg_is_customised_and_keeps_the_rest(shared: Path) -> None:
    cfg = read_cfg(shared / "weights" / "yolo-fastest" / "yolo-fastest-1.1-xl.cfg")
    anchors = [[200, 180], [12, 18], [37, 49], [80, 90.5], [20, 30]]
    mine = customise(cfg, 2, anchors, (256, 320))
    assert mine.input_size == (256, 320)
    coarse, fine = mine.heads
    assert (fine.mask, coarse.mask) == ((0, 1), (2, 3, 4))
    np.testing.assert_allclose(coarse.anchors, [[37, 49], [80, 90.5], [200, 180]])
    assert [mine.layers[head.layer - 1].integer("filters") for head in mine.heads] == [21, 14]
    before, after = cfg.text.split("\n"), mine.text.split("\n")
    assert len(before) == len(after)
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 2 + 2 + 2 * 4 - 1  # width stays 320


def test_customise_without_anchors_keeps_the_masks(shared: Path) -> None:
    cfg = read_cfg(shared / "weights" / "cfg" / "yolov4-tiny.cfg")
    assert [head.mask for head in customise(cfg, 5).heads] == [(3, 4, 5), (1, 2, 3)]
