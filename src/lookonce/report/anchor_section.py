"""The anchors among the boxes that they were made from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import centred_iou
from lookonce.darknet import layer_strides, parse_cfg
from lookonce.report.chart import Chart, class_colour, logarithmic
from lookonce.report.facts import RunFacts
from lookonce.report.markup import Markup, element, joined, section, swatch, table
from lookonce.report.words import TIMES, UNKNOWN, count, figure

_MOST_DOTS = 2500


def anchors_section(run: RunFacts) -> Markup | None:
    """A cloud of box sizes, and a table of the anchors; None for training images without boxes."""
    cfg = parse_cfg(run.card.cfg)
    anchors = cfg.heads[0].all_anchors
    strides = layer_strides(cfg)
    heads = {index: strides[head.layer] for head in cfg.heads for index in head.mask}
    sizes = run.checked.box_sizes(run.lists["train"], run.card.input_size, run.card.resize)
    sizes = sizes[(sizes > 0).all(axis=1)]
    if not len(sizes):
        return None
    overlaps = centred_iou(sizes, anchors)
    nearest, best = overlaps.argmax(axis=1), overlaps.max(axis=1)
    rows = []
    for index, (width, height) in enumerate(anchors):
        mine = best[nearest == index]
        share = figure(float(mine.mean()), 2) if len(mine) else UNKNOWN
        cell = f"{heads[index]:g} px" if index in heads else "unused"
        rows.append(
            [
                joined([swatch(class_colour(index)), f"{width:.0f} {TIMES} {height:.0f}"]),
                cell,
                f"{len(mine):,}",
                share,
            ]
        )
    mean, poor = float(best.mean()), int((best < 0.5).sum())
    many = "all" if not poor else f"all but {poor:,}"
    boxes = count(len(sizes), "box", "boxes")
    said = f"Average IoU {figure(mean)}: {many} of the {boxes} overlap an anchor by half or more."
    return section(
        "anchors",
        "Anchors among the boxes",
        element(
            "div",
            _chart(sizes, anchors, nearest, mean),
            element(
                "div",
                element("p", said, class_="says"),
                table("Anchors", ("anchor", "cell", "boxes", "mean IoU"), rows, (1, 2, 3), "close"),
            ),
            class_="pair",
        ),
        lead="Every dot is a labelled box of the training images, in pixels of the network's input; every "
        "cross an anchor, a shape that the network starts from. Good anchors stand where the dots are.",
    )


def _chart(
    sizes: NDArray[np.float32], anchors: NDArray[np.float32], nearest: NDArray[np.int64], mean: float
) -> Markup:
    both = np.concatenate([sizes, anchors])
    # Below a pixel a logarithm would give the room to what nobody can detect.
    low, high = np.maximum(both.min(axis=0), 1), np.maximum(both.max(axis=0), 2)
    chart = Chart(
        "Sizes",
        logarithmic("width, pixels", float(low[0]), float(high[0])),
        logarithmic("height, pixels", float(low[1]), float(high[1])),
        330,
    )
    some = np.random.default_rng(0).permutation(len(sizes))[:_MOST_DOTS]
    for index in range(len(anchors)):
        mine = np.maximum(sizes[some[nearest[some] == index]], 1)
        points = [(float(width), float(height)) for width, height in mine]
        chart.dots(points, class_colour(index), 2 if len(some) < 600 else 1.5, 0.55)
    for width, height in np.maximum(anchors, 1):
        chart.cross(float(width), float(height), f"anchor {width:.0f} {TIMES} {height:.0f}")
    note = f"{_MOST_DOTS:,} of {len(sizes):,} boxes are drawn." if len(sizes) > _MOST_DOTS else None
    return chart.figure(
        f"Widths and heights of {count(len(sizes), 'box', 'boxes')} and {count(len(anchors), 'anchor')}; "
        f"average IoU {figure(mean)}.",
        note,
    )
