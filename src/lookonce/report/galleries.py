"""Images to look at: batches as the network saw them, and where the kept model is best and worst."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import cxcywh_to_xyxy, iou_matrix
from lookonce.core.detections import Detections
from lookonce.errors import LookonceError
from lookonce.evaluation import GroundTruth, Metrics, rank_images
from lookonce.evaluation.matching import HIT, MISS, match
from lookonce.io.images import read_image
from lookonce.report.chart import swatch_colour
from lookonce.report.facts import RunFacts, TrainingBatches
from lookonce.report.markup import Markup, element, joined, name, section, swatch
from lookonce.report.tiles import Layer, tile
from lookonce.report.words import count

SHOWN = 6
_FROM_A_BATCH = 8
_BATCH_PX = 320
_MOST_KEYS = 12
_TITLE = "What the network saw"
# With so few boxes in an image there is room for the names of all of them.
_NAMED_BOXES = 6


def batches_section(run: RunFacts) -> Markup | None:
    """The training's first batch, made again; and one of the last epoch where those are made otherwise."""
    if run.batches is None:
        return None
    parts: list[Markup] = []
    seen: set[int] = set()
    chosen = _epochs(run.batches, len(run.rows))
    for epoch, most, title in chosen:
        try:
            images, truths = _batch(run.batches, epoch)
        except LookonceError as error:
            return section("batches", _TITLE, element("p", f"They can't be shown: {error}", class_="says"))
        tiles = []
        for image, rows in zip(images[:most], truths[:most], strict=True):
            layers, labels = _taught(image, rows)
            seen |= labels
            said = count(sum(len(layer.boxes) for layer in layers), "box", "boxes")
            alt = f"A training image as the network saw it in epoch {epoch}, with {said}."
            tiles.append(tile(image, layers, alt, said, longest=_BATCH_PX))
        if len(chosen) > 1:
            parts.append(element("h3", title))
        parts.append(element("div", *tiles, class_="shots small"))
    keys = [joined([swatch(swatch_colour(one)), name(run.card.classes[one])]) for one in sorted(seen)]
    return section(
        "batches",
        _TITLE,
        *parts,
        element("ul", *(element("li", key) for key in keys[:_MOST_KEYS]), class_="legend"),
        lead="Training images after augmentation, at the network's input size, with the boxes that it was "
        "taught. Boxes that lie off, or objects without one, would be taught as well.",
    )


def _epochs(batches: TrainingBatches, done: int) -> list[tuple[int, int, str]]:
    """Epochs (from 1) to take a batch of, how many images of it, and a title."""
    closing = batches.closing_from
    chosen = [(1, _FROM_A_BATCH, "First epoch")]
    if batches.mixes_images and closing is not None and 0 < closing < done:
        title = f"Last epoch: images are no longer made of several, from epoch {closing + 1} on"
        chosen.append((done, _FROM_A_BATCH // 2, title))
    return chosen


def _batch(batches: TrainingBatches, epoch: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The first of an epoch (counted from 1), just as training got it."""
    before = batches.epoch
    batches.epoch = epoch - 1
    try:
        images, truths = batches[0]
    finally:
        batches.epoch = before
    return images, truths


def _taught(image: NDArray[np.uint8], rows: NDArray[np.float32]) -> tuple[list[Layer], set[int]]:
    """A layer for each class among truths (most boxes, 5): cx, cy, w, h as shares, class; unused rows 0."""
    height, width = image.shape[:2]
    used = rows[rows[:, 2] > 0]
    boxes = cxcywh_to_xyxy(used[:, :4]) * np.array([width, height] * 2, np.float32)
    labels = used[:, 4].astype(int)
    layers = [
        Layer("taught", boxes[labels == label], colour=swatch_colour(int(label)))
        for label in np.unique(labels)
    ]
    return layers, set(labels.tolist())


def validation_section(run: RunFacts, metrics: Metrics) -> Markup:
    """The worst and best validation images, labelled and found boxes over each other."""
    ranked = rank_images(run.truths, run.predictions, metrics.confidence)
    half = min(SHOWN, -(-len(ranked) // 2))
    parts: list[Markup | None] = []
    for title, chosen in (("Worst", ranked[:half]), ("Best", ranked[::-1][: min(SHOWN, len(ranked) - half)])):
        tiles = [_validated(run, index, score, metrics.confidence) for score, index in chosen]
        if tiles:
            parts += [element("h3", title), element("div", *tiles, class_="shots")]
    kinds = (
        ("labelled", "labelled"),
        ("right", "found, and right"),
        ("wrong", "found, but wrong"),
        ("missed", "labelled, but missed"),
    )
    legend = [element("li", _sample(kind), element("span", said)) for kind, said in kinds]
    return section(
        "images",
        "Worst and best validation images",
        element("ul", *legend, class_="legend"),
        *parts,
        lead=f"By F1 above confidence {metrics.confidence:g}. A box is right when its class is, and it "
        "overlaps the label by half (IoU 0.5). Look at the worst first: some will show labels that are wrong "
        "or missing, and fixing those helps more than training longer.",
    )


def _sample(kind: str) -> Markup:
    path = "M3 3H23V13H3z"
    return element(
        "svg",
        element("rect", width=26, height=16, rx=3, class_="ground"),
        element("path", d=path, class_=f"box {kind} under"),
        element("path", d=path, class_=f"box {kind}"),
        viewBox="0 0 26 16",
        class_="sample",
        aria_hidden="true",
    )


def _validated(run: RunFacts, index: int, score: float, confidence: float) -> Markup:
    record = run.checked.records[run.lists["val"][index]]
    truth, found = run.truths[index], run.predictions[index]
    layers, counts = _judged(truth, found, run.card.classes, confidence)
    said = f"{counts[0]} right, {counts[1]} wrong, {counts[2]} missed"
    caption = [element("b", name(record.name)), element("span", f"F1 {score:.2f}: {said}")]
    try:
        image = read_image(record.image)
    except LookonceError:
        # It was read a moment ago; a report without it is better than none.
        blank = np.full((*truth.size[::-1], 3), 128, np.uint8)
        return tile(blank, layers, f"{record.name} could not be read again.", *caption)
    return tile(image, layers, f"Validation image {record.name}: {said}.", *caption)


def _judged(
    truth: GroundTruth, found: Detections, names: Sequence[str], confidence: float
) -> tuple[list[Layer], tuple[int, int, int]]:
    """Layers, and how many detections are right, how many wrong, how many labels were missed."""
    sure = np.nonzero(found.scores > confidence)[0]
    right, wrong, met = [], [], np.zeros(len(truth.boxes), bool)
    for label in np.unique(found.classes[sure]):
        mine = sure[found.classes[sure] == label]
        mine = mine[np.argsort(-found.scores[mine], kind="stable")]
        wanted = np.nonzero(truth.classes == label)[0]
        outcome = match(truth.boxes[wanted], truth.difficult[wanted], found.boxes[mine])
        right += mine[outcome == HIT].tolist()
        wrong += mine[outcome == MISS].tolist()
        if len(wanted):
            nearest = iou_matrix(found.boxes[mine], truth.boxes[wanted]).argmax(axis=1)
            met[wanted[nearest[outcome == HIT]]] = True
    missed = np.nonzero(~met & ~truth.difficult)[0]
    labelled = np.nonzero(met | truth.difficult)[0]
    few = len(right) + len(wrong) + len(missed) <= _NAMED_BOXES

    def said(indices: list[int]) -> tuple[str, ...]:
        return tuple(f"{names[found.classes[index]]} {found.scores[index]:.2f}" for index in indices)

    layers = [
        Layer("labelled", truth.boxes[labelled]),
        Layer("right", found.boxes[right], said(right) if few else ()),
        Layer("wrong", found.boxes[wrong], said(wrong)),
        Layer("missed", truth.boxes[missed], tuple(names[label] for label in truth.classes[missed])),
    ]
    return layers, (len(right), len(wrong), len(missed))
