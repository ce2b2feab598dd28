"""The top of the report: what was trained, how good it is, and what stands out."""

from __future__ import annotations

import math

from lookonce.evaluation import Metrics
from lookonce.report.facts import RunFacts
from lookonce.report.markup import Markup, element, facts, joined, name, note, section
from lookonce.report.notes import notes
from lookonce.report.words import TIMES, count, duration, figure, listed, percent

_NAMED = 6


def summary_section(run: RunFacts) -> Markup:
    """Sentences, figures, and notes."""
    metrics = run.metrics
    said = notes(run)
    return section(
        "summary",
        "In short",
        element("p", _what(run), class_="says"),
        element("p", _how_good(metrics) if metrics else _UNMEASURED, class_="says"),
        _tiles(run, metrics) if metrics else None,
        element("h3", "What stands out") if said else None,
        element("ul", *(element("li", note) for note in said), class_="notes") if said else None,
        facts(_facts(run)),
    )


_UNMEASURED = (
    "No validation images were used, so this report has no measure of how good the model is: no average "
    "precision, no confusion matrix, no calibration, no best and worst images. Measure it on images that "
    "it did not learn from with lookonce evaluate."
)


def _what(run: RunFacts) -> Markup:
    train = run.record.data.get("train", {})
    classes = [name(one) for one in run.card.classes[:_NAMED]]
    more = len(run.card.classes) - len(classes)
    named: list[Markup | str] = []
    for index, one in enumerate(classes):
        between = "" if not index else " and " if index + 1 == len(classes) and not more else ", "
        named += [between, one]
    time = f" in {duration(sum(one.seconds for one in run.times))}" if run.times else ""
    return joined(
        [
            "A ", element("b", name(run.card.name)), " that finds ", *named,
            f" and {count(more, 'class', 'classes')} more" if more else "",
            f". It learned from {count(int(train.get('images', 0)), 'image')} with ",
            f"{count(int(train.get('boxes', 0)), 'labelled object')}, "
            f"{count(len(run.rows), 'epoch')}{time}.",
        ]
    )  # fmt: skip


def _how_good(metrics: Metrics) -> str:
    if math.isnan(metrics.ap50):
        shown = count(metrics.images, "validation image")
        return f"The {shown} hold no labelled object: nothing can be measured."
    held = f"{count(metrics.images, 'validation image')}, which it never learned from"
    if math.isnan(metrics.precision):
        return f"At confidence {metrics.confidence:g} it finds nothing in {held}."
    text = (
        f"At confidence {metrics.confidence:g} it finds {percent(metrics.recall)} of the {metrics.objects:,} "
        f"objects labelled in {held}; {percent(metrics.precision)} of what it finds there is right."
    )
    if not math.isnan(metrics.best_f1) and metrics.best_f1 > 0:
        text += f" The best balance of the two is at confidence {metrics.best_confidence:.2f}."
    return text


def _tiles(run: RunFacts, metrics: Metrics) -> Markup:
    shown = (
        ("AP50", metrics.ap50, "average precision where a box counts from half an overlap (IoU 0.5)"),
        ("AP", metrics.ap, "the same over overlaps from 0.5 to 0.95: how exactly boxes fit, too"),
        ("AP75", metrics.ap75, "the same from three quarters of an overlap"),
        ("F1", metrics.f1, f"precision and recall in one figure, at confidence {metrics.confidence:g}"),
    )
    tiles = []
    for label, value, means in shown:
        parts = (element("span", label, class_="label"), element("b", figure(value)))
        tiles.append(element("li", *parts, element("span", means, class_="means")))
    kept = (
        f"Of epoch {run.best_epoch}, the best, whose model was kept. 1 is perfect."
        if run.best_epoch
        else "1 is perfect."
    )
    return joined([element("ul", *tiles, class_="tiles"), note(kept)])


def _facts(run: RunFacts) -> list[tuple[str, Markup | str | None]]:
    machine, data = run.record.machine, run.record.data
    height, width = run.card.input_size
    images = [
        f"{count(len(run.lists[key]), 'image')} to {verb}"
        for key, verb in (("train", "learn from"), ("val", "validate on"))
        if run.lists.get(key)
    ]
    boards = machine.get("accelerators") or []
    return [
        ("Model", joined([name(run.card.name), f", {run.record.parameters:,} parameters"])),
        ("Input", f"{width} {TIMES} {height} pixels, {run.card.resize}"),
        ("Classes", f"{len(run.card.classes):,}"),
        ("Data", joined([name(str(data.get("name", ""))), f": {listed(images)}"])),
        (
            "Machine",
            listed(boards)
            if boards
            else f"{machine.get('processor', 'unknown')}, {count(int(machine.get('cores') or 1), 'core')}",
        ),
        ("Began", run.started.replace("T", " ").replace("+00:00", " UTC") or None),
    ]
