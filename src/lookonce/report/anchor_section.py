"""The report's section on anchors and the box sizes that they were fitted to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import centred_iou
from lookonce.darknet import layer_strides, parse_cfg
from lookonce.report.chart import Chart, class_colour, logarithmic
from lookonce.report.facts import RunFacts
from lookonce.report.markup import Markup, element, joined, section, swatch, table
from lookonce.report.words import TIMES, UNKNOWN, count, decimal

_MAX_DOTS = 2500


def anchors_section(run: RunFacts) -> Markup | None:
    """Return a scatter chart of box sizes and a table of the anchors, or None if there are no training boxes."""
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
        selected = best[nearest == index]
        share = decimal(float(selected.mean()), 2) if len(selected) else UNKNOWN
        cell = f"{heads[index]:g} px" if index in heads else "unused"
        rows.append(
            [
                joined([swatch(class_colour(index)), f"{width:.0f} {TIMES} {height:.0f}"]),
                cell,
                f"{len(selected):,}",
                share,
            ]
        )
    mean, poor = float(best.mean()), int((best < 0.5).sum())
    boxes = count(len(sizes), "box", "boxes")
    text = (
        f"Average IoU {decimal(mean)}. {len(sizes) - poor:,} of {boxes} have an anchor with IoU 0.5 or more."
    )
    return section(
        "anchors",
        "Anchors and box sizes",
        element(
            "div",
            _chart(sizes, anchors, nearest, mean),
            element(
                "div",
                element("p", text, class_="statement"),
                table("Anchors", ("anchor", "cell", "boxes", "mean IoU"), rows, (1, 2, 3), "close"),
            ),
            class_="pair",
        ),
        lead="Each dot is the size of a labelled box in the training images, in pixels of the network input. "
        "Each cross is an anchor: a box size that predictions are relative to. Good anchors lie where the dots "
        "are dense.",
    )


def _chart(
    sizes: NDArray[np.float32], anchors: NDArray[np.float32], nearest: NDArray[np.int64], mean: float
) -> Markup:
    all_sizes = np.concatenate([sizes, anchors])
    # Clamp to one pixel: on a logarithmic axis, smaller boxes would take up most of the chart.
    low, high = np.maximum(all_sizes.min(axis=0), 1), np.maximum(all_sizes.max(axis=0), 2)
    chart = Chart(
        "Box sizes",
        logarithmic("width, pixels", float(low[0]), float(high[0])),
        logarithmic("height, pixels", float(low[1]), float(high[1])),
        330,
    )
    sample = np.random.default_rng(0).permutation(len(sizes))[:_MAX_DOTS]
    for index in range(len(anchors)):
        selected = np.maximum(sizes[sample[nearest[sample] == index]], 1)
        points = [(float(width), float(height)) for width, height in selected]
        chart.dots(points, class_colour(index), 2 if len(sample) < 600 else 1.5, 0.55)
    for width, height in np.maximum(anchors, 1):
        chart.cross(float(width), float(height), f"anchor {width:.0f} {TIMES} {height:.0f}")
    note = f"Shows a sample of {_MAX_DOTS:,} of {len(sizes):,} boxes." if len(sizes) > _MAX_DOTS else None
    return chart.figure(
        f"Widths and heights of {count(len(sizes), 'box', 'boxes')} and {count(len(anchors), 'anchor')}; "
        f"average IoU {decimal(mean)}.",
        note,
    )
