"""The report's image galleries: augmented training batches, worst and best validation images."""

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

_MAX_VALIDATED = 6
_MAX_TILES = 8
_BATCH_PX = 320
_MAX_LEGEND = 12
_TITLE = "Training batches after augmentation"
# Label all boxes of an image only up to this number of boxes.
_MAX_LABELLED = 6


def batches_section(run: RunFacts) -> Markup | None:
    """Return the first training batch, and one of the last epoch if its augmentation differs."""
    if run.batches is None:
        return None
    parts: list[Markup] = []
    used_labels: set[int] = set()
    chosen = _epochs(run.batches, len(run.rows))
    for epoch, most, title in chosen:
        try:
            images, targets = _batch(run.batches, epoch)
        except LookonceError as error:
            return section(
                "batches", _TITLE, element("p", f"Images not available: {error}", class_="statement")
            )
        tiles = []
        for image, rows in zip(images[:most], targets[:most], strict=True):
            layers, labels = _target_layers(image, rows)
            used_labels |= labels
            boxes = count(sum(len(layer.boxes) for layer in layers), "box", "boxes")
            alt = f"Augmented training image of epoch {epoch} with {boxes}."
            tiles.append(tile(image, layers, alt, boxes, longest=_BATCH_PX))
        if len(chosen) > 1:
            parts.append(element("h3", title))
        parts.append(element("div", *tiles, class_="shots small"))
    keys = [joined([swatch(swatch_colour(one)), name(run.card.classes[one])]) for one in sorted(used_labels)]
    return section(
        "batches",
        _TITLE,
        *parts,
        element("ul", *(element("li", key) for key in keys[:_MAX_LEGEND]), class_="legend"),
        lead="Training images at the network input size, with their target boxes. Check that boxes fit and that "
        "no object lacks one: the network learns wrong labels, too.",
    )


def _epochs(batches: TrainingBatches, done: int) -> list[tuple[int, int, str]]:
    """Return (epoch from 1, number of images, title) of each batch to show."""
    closing = batches.closing_from
    chosen = [(1, _MAX_TILES, "First epoch")]
    if batches.mixes_images and closing is not None and 0 < closing < done:
        title = f"Last epoch: no mosaic or mixup from epoch {closing + 1} on"
        chosen.append((done, _MAX_TILES // 2, title))
    return chosen


def _batch(batches: TrainingBatches, epoch: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the first batch of an epoch, counted from 1, exactly as used in training."""
    original = batches.epoch
    batches.epoch = epoch - 1
    try:
        images, targets = batches[0]
    finally:
        batches.epoch = original
    return images, targets


def _target_layers(image: NDArray[np.uint8], rows: NDArray[np.float32]) -> tuple[list[Layer], set[int]]:
    """Return a layer per class, and the classes, of target rows: cx, cy, w, h in 0..1, class; padding is 0."""
    height, width = image.shape[:2]
    used = rows[rows[:, 2] > 0]
    boxes = cxcywh_to_xyxy(used[:, :4]) * np.array([width, height] * 2, np.float32)
    labels = used[:, 4].astype(int)
    layers = [
        Layer("target", boxes[labels == label], colour=swatch_colour(int(label)))
        for label in np.unique(labels)
    ]
    return layers, set(labels.tolist())


def validation_section(run: RunFacts, metrics: Metrics) -> Markup:
    """Return the worst and best validation images with ground truth and detections drawn."""
    ranked = rank_images(run.ground_truth, run.predictions, metrics.confidence)
    half = min(_MAX_VALIDATED, -(-len(ranked) // 2))
    parts: list[Markup | None] = []
    for title, chosen in (
        ("Worst", ranked[:half]),
        ("Best", ranked[::-1][: min(_MAX_VALIDATED, len(ranked) - half)]),
    ):
        tiles = [_validation_tile(run, index, score, metrics.confidence) for score, index in chosen]
        if tiles:
            parts += [element("h3", title), element("div", *tiles, class_="shots")]
    kinds = (
        ("labelled", "labelled object"),
        ("right", "correct detection"),
        ("wrong", "false detection"),
        ("missed", "missed object"),
    )
    legend = [element("li", _sample(kind), element("span", label)) for kind, label in kinds]
    return section(
        "images",
        "Worst and best validation images",
        element("ul", *legend, class_="legend"),
        *parts,
        lead=f"Ranked by F1 at confidence {metrics.confidence:g}. A detection is correct if its class matches "
        "a labelled object and their IoU is at least 0.5. Look at the worst images first: they often reveal wrong "
        "or missing labels, and correcting those can help more than longer training.",
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


def _validation_tile(run: RunFacts, index: int, score: float, confidence: float) -> Markup:
    record = run.checked.records[run.lists["val"][index]]
    ground_truth, detections = run.ground_truth[index], run.predictions[index]
    layers, counts = _match_layers(ground_truth, detections, run.card.classes, confidence)
    text = f"{counts[0]} correct, {counts[1]} false, {counts[2]} missed"
    caption = [element("b", name(record.name)), element("span", f"F1 {score:.2f}: {text}")]
    try:
        image = read_image(record.image)
    except LookonceError:
        # The file disappeared since validation: draw the boxes on grey.
        blank = np.full((*ground_truth.size[::-1], 3), 128, np.uint8)
        return tile(blank, layers, f"{record.name}: image not available.", *caption)
    return tile(image, layers, f"Validation image {record.name}: {text}.", *caption)


def _match_layers(
    ground_truth: GroundTruth, detections: Detections, names: Sequence[str], confidence: float
) -> tuple[list[Layer], tuple[int, int, int]]:
    """Return layers and the numbers of correct detections, false detections and missed objects."""
    confident = np.nonzero(detections.scores > confidence)[0]
    correct, false, matched = [], [], np.zeros(len(ground_truth.boxes), bool)
    for label in np.unique(detections.classes[confident]):
        selected = confident[detections.classes[confident] == label]
        selected = selected[np.argsort(-detections.scores[selected], kind="stable")]
        same_class = np.nonzero(ground_truth.classes == label)[0]
        outcome = match(
            ground_truth.boxes[same_class], ground_truth.difficult[same_class], detections.boxes[selected]
        )
        correct += selected[outcome == HIT].tolist()
        false += selected[outcome == MISS].tolist()
        if len(same_class):
            nearest = iou_matrix(detections.boxes[selected], ground_truth.boxes[same_class]).argmax(axis=1)
            matched[same_class[nearest[outcome == HIT]]] = True
    missed = np.nonzero(~matched & ~ground_truth.difficult)[0]
    labelled = np.nonzero(matched | ground_truth.difficult)[0]
    few = len(correct) + len(false) + len(missed) <= _MAX_LABELLED

    def captions(indices: list[int]) -> tuple[str, ...]:
        return tuple(
            f"{names[detections.classes[index]]} {detections.scores[index]:.2f}" for index in indices
        )

    layers = [
        Layer("labelled", ground_truth.boxes[labelled]),
        Layer("right", detections.boxes[correct], captions(correct) if few else ()),
        Layer("wrong", detections.boxes[false], captions(false)),
        Layer(
            "missed",
            ground_truth.boxes[missed],
            tuple(names[label] for label in ground_truth.classes[missed]),
        ),
    ]
    return layers, (len(correct), len(false), len(missed))
