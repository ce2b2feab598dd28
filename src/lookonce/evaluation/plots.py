"""Plots: precision and recall, confusion, training curves, anchors, images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from lookonce.core.boxes import centred_iou
from lookonce.core.colours import colour_of
from lookonce.evaluation.image_plot import plot_images
from lookonce.evaluation.matching import GroundTruth, Predictions, confusion_matrix, rank_images
from lookonce.evaluation.metrics import Curve, Metrics
from lookonce.io.atomic import atomic_file

__all__ = ["plot_anchors", "plot_confusion", "plot_curves", "plot_images", "plot_pr", "rank_images"]

_DPI = 120
_LEGEND_CLASSES = 12
_RECALLS = np.linspace(0, 1, 101)


def plot_pr(metrics: Metrics, path: Path) -> None:
    """Plot precision against recall at IoU 0.5, per class and mean, over lines of equal F1."""
    figure = Figure(figsize=(7, 5.2), layout="constrained")
    axes = figure.add_subplot()
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recall = np.linspace(f1 / (2 - f1), 1, 100)
        axes.plot(recall, f1 * recall / (2 * recall - f1), color="0.88", linewidth=0.8, zorder=0)
        axes.annotate(
            f"F1 {f1}",
            (1, f1 / (2 - f1)),
            (-2, 2),
            textcoords="offset points",
            color="0.6",
            fontsize=7,
            ha="right",
        )
    present = [(label, one) for label, one in enumerate(metrics.classes) if one.objects]
    few = len(present) <= _LEGEND_CLASSES
    envelopes = [_envelope(metrics.curves[label]) for label, _ in present]
    for (label, one), envelope in zip(present, envelopes, strict=True):
        axes.plot(
            _RECALLS,
            envelope,
            color=_rgb(label) if few else "0.75",
            linewidth=1.4 if few else 0.7,
            label=f"{one.name}  {one.ap50:.2f}" if few else None,
        )
    if envelopes:
        mean = np.mean(envelopes, axis=0)
        axes.plot(_RECALLS, mean, color="black", linewidth=2.4, label=f"all classes  {metrics.ap50:.2f}")
        if not math.isnan(metrics.precision):
            mark = f"at confidence {metrics.confidence:g}"
            axes.plot(
                metrics.recall, metrics.precision, "o", color="black", markersize=8, mec="white", label=mark
            )
        axes.legend(title="AP50", fontsize=8, title_fontsize=8, loc="lower left", framealpha=0.95)
    else:
        _write(axes, "no labelled objects")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.set_title(f"Precision and recall at IoU 0.5: {metrics.objects} objects in {metrics.images} images")
    _finish(figure, [axes], path)


def plot_confusion(
    ground_truth: Sequence[GroundTruth],
    predictions: Sequence[Predictions],
    names: Sequence[str],
    path: Path,
    confidence: float = 0.3,
) -> None:
    """Plot the confusion matrix of detections above `confidence`, without classes that do not occur."""
    counts = confusion_matrix(ground_truth, predictions, len(names), confidence)
    shown = [*np.nonzero((counts + counts.T).sum(axis=0)[:-1])[0].tolist(), len(names)]
    counts = counts[np.ix_(shown, shown)]
    labels = [([*names, "nothing"])[index] for index in shown]
    side = min(14.0, 3.2 + 0.55 * len(shown))
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    small = len(shown) > 20
    if len(shown) <= 40:
        for row, column in np.argwhere(counts):
            ink = "white" if shares[row, column] > 0.55 else "black"
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                color=ink,
                fontsize=6 if small else 9,
            )
    if len(shown) > 3:
        axes.set_xticks(range(len(shown)), labels, rotation=45, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks(range(len(shown)), labels)
    axes.set_yticks(range(len(shown)), labels)
    axes.tick_params(labelsize=6 if small else 9, length=0)
    axes.set(xlabel="detected", ylabel="labelled")
    axes.set_title(f"Objects, by class, above confidence {confidence:g}", fontsize=11)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the row")
    axes.axhline(len(shown) - 1.5, color="0.5", linewidth=0.8)
    axes.axvline(len(shown) - 1.5, color="0.5", linewidth=0.8)
    _save(figure, path)


def plot_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot losses and validation metrics by epoch; `rows` are those of metrics.csv."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    losses, figures = figure.subplots(1, 2)
    names = list(dict.fromkeys(name for row in rows for name in row))
    for axes, chosen, title in (
        (losses, [name for name in names if "loss" in name], "Loss"),
        (figures, [name for name in names if name.startswith("val_") and "loss" not in name], "Validation"),
    ):
        drawn = 0
        for index, name in enumerate(chosen):
            points = [
                (float(row["epoch"]), float(row[name])) for row in rows if row.get(name) not in (None, "")
            ]
            points = [point for point in points if math.isfinite(point[1])]
            if not points:
                continue
            epochs, values = zip(*points, strict=True)
            mark = "o" if len(points) == 1 else None
            axes.plot(
                epochs, values, color=_rgb((5, 4, 2, 0, 6)[index % 5]), linewidth=1.8, marker=mark, label=name
            )
            drawn += 1
            if title == "Validation" and index == 0:
                best = int(np.argmax(values))
                axes.plot(epochs[best], values[best], "o", color="black", markersize=6, zorder=3)
                axes.annotate(
                    f"best {values[best]:.3f}, epoch {epochs[best]:g}",
                    (epochs[best], values[best]),
                    (0, 8),
                    textcoords="offset points",
                    ha="right" if best > len(values) / 2 else "left",
                    fontsize=9,
                )
        if drawn:
            axes.legend(fontsize=9, loc="best")
        else:
            _write(axes, "no data")
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figures.set_ylim(0, 1.05)
    # A first epoch far above the last would flatten the rest.
    shown = [value for line in losses.lines for value in line.get_ydata()]
    if shown and min(shown) > 0 and max(shown) > 20 * min(shown):
        losses.set_yscale("log")
        losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        losses.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        losses.yaxis.set_minor_formatter(NullFormatter())
    _finish(figure, [losses, figures], path)


def plot_anchors(
    sizes: NDArray[np.float32], anchors: NDArray[np.float32], average_iou: float, path: Path
) -> None:
    """Plot labelled sizes (n, 2) and anchors (k, 2), widths and heights in network-input pixels."""
    figure = Figure(figsize=(10.5, 4.8), layout="constrained")
    spread, shapes = figure.subplots(1, 2, width_ratios=(1.25, 1))
    order = np.argsort(np.prod(anchors, axis=1))
    anchors = np.asarray(anchors)[order]
    if len(sizes):
        nearest = centred_iou(sizes, anchors).argmax(axis=1)
        # More points only darken the plot.
        some = np.random.default_rng(0).permutation(len(sizes))[:5000]
        colours = np.asarray([_rgb(label) for label in nearest[some]])
        area = float(np.clip(3000 / len(some), 4, 25))
        spread.scatter(sizes[some, 0], sizes[some, 1], s=area, c=colours, alpha=0.45, linewidths=0)
    for index, (width, height) in enumerate(anchors):
        spread.plot(width, height, "X", color=_rgb(index), markersize=12, mec="black", mew=1.1)
    spread.set(xlabel="width, input pixels", ylabel="height, input pixels", xlim=(0, None), ylim=(0, None))
    spread.set_title(
        f"{len(sizes)} boxes, {len(anchors)} anchors, average IoU {average_iou:.3f}", fontsize=11
    )
    for index, (width, height) in reversed(list(enumerate(anchors))):
        edge = (
            [-width / 2, width / 2, width / 2, -width / 2, -width / 2],
            [-height / 2, -height / 2, height / 2, height / 2, -height / 2],
        )
        shapes.plot(*edge, color=_rgb(index), linewidth=2.2, label=f"{width:.0f} x {height:.0f}")
    shapes.set_aspect("equal")
    shapes.set_title("Anchors", fontsize=11)
    handles, labels = shapes.get_legend_handles_labels()
    shapes.legend(
        handles[::-1], labels[::-1], fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False
    )
    _finish(figure, [spread, shapes], path)


def _envelope(curve: Curve) -> NDArray[np.float64]:
    """Return the best precision at or above each of 101 recalls."""
    falling = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return np.append(falling, 0.0)[np.searchsorted(curve.recall, _RECALLS)]


def _rgb(label: int) -> tuple[float, ...]:
    return tuple(value / 255 for value in colour_of(label))


def _write(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", color="0.5", transform=axes.transAxes)


def _finish(figure: Figure, all_axes: Sequence[Any], path: Path) -> None:
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.93", linewidth=0.8)
        axes.set_axisbelow(True)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with atomic_file(Path(path)) as temporary:
        figure.savefig(temporary, dpi=_DPI)
