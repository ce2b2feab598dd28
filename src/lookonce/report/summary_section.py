"""The report's first section: model, metrics and notes."""

from __future__ import annotations

import math

from lookonce.evaluation import Metrics
from lookonce.report.facts import RunFacts
from lookonce.report.markup import Markup, element, facts, joined, name, note, section
from lookonce.report.notes import notes
from lookonce.report.words import TIMES, count, decimal, duration, listed, percent

_NAMED = 6


def summary_section(run: RunFacts) -> Markup:
    """Return the summary: description, metrics, notes and key facts."""
    metrics = run.metrics
    remarks = notes(run)
    return section(
        "summary",
        "Summary",
        element("p", _description(run), class_="statement"),
        element("p", _quality(metrics) if metrics else _NO_VALIDATION, class_="statement"),
        _tiles(run, metrics) if metrics else None,
        element("h3", "Notes") if remarks else None,
        element("ul", *(element("li", remark) for remark in remarks), class_="notes") if remarks else None,
        facts(_facts(run)),
    )


_NO_VALIDATION = (
    "No validation images were used, so this report has no average precision, confusion matrix, calibration "
    "or best and worst images. To measure the model, run lookonce evaluate on images that were not used for "
    "training."
)


def _description(run: RunFacts) -> Markup:
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
            "A ", element("b", name(run.card.name)), " that detects ", *named,
            f" and {count(more, 'class', 'classes')} more" if more else "",
            f". Trained on {count(int(train.get('images', 0)), 'image')} with ",
            f"{count(int(train.get('boxes', 0)), 'labelled object')} for "
            f"{count(len(run.rows), 'epoch')}{time}.",
        ]
    )  # fmt: skip


def _quality(metrics: Metrics) -> str:
    if math.isnan(metrics.ap50):
        shown = count(metrics.images, "validation image")
        return f"The {shown} have no labelled objects, so the model cannot be measured."
    held = f"{count(metrics.images, 'validation image')} not used for training"
    if math.isnan(metrics.precision):
        return f"At confidence {metrics.confidence:g} the model detects nothing in {held}."
    text = (
        f"At confidence {metrics.confidence:g} the model detects {percent(metrics.recall)} of the "
        f"{metrics.objects:,} labelled objects in {held}; {percent(metrics.precision)} of its detections are "
        "correct."
    )
    if not math.isnan(metrics.best_f1) and metrics.best_f1 > 0:
        text += f" F1 is highest at confidence {metrics.best_confidence:.2f}."
    return text


def _tiles(run: RunFacts, metrics: Metrics) -> Markup:
    shown = (
        ("AP50", metrics.ap50, "average precision at IoU 0.5"),
        ("AP", metrics.ap, "average precision, mean of IoU 0.5 to 0.95; rewards exact boxes"),
        ("AP75", metrics.ap75, "average precision at IoU 0.75"),
        ("F1", metrics.f1, f"harmonic mean of precision and recall at confidence {metrics.confidence:g}"),
    )
    tiles = []
    for label, value, meaning in shown:
        parts = (element("span", label, class_="label"), element("b", decimal(value)))
        tiles.append(element("li", *parts, element("span", meaning, class_="meaning")))
    caption = (
        f"Metrics of epoch {run.best_epoch}, the best, whose model was saved. 1 is perfect."
        if run.best_epoch
        else "1 is perfect."
    )
    return joined([element("ul", *tiles, class_="tiles"), note(caption)])


def _facts(run: RunFacts) -> list[tuple[str, Markup | str | None]]:
    machine, data = run.record.machine, run.record.data
    height, width = run.card.input_size
    images = [
        f"{count(len(run.lists[key]), f'{use} image')}"
        for key, use in (("train", "training"), ("val", "validation"))
        if run.lists.get(key)
    ]
    accelerators = machine.get("accelerators") or []
    return [
        ("Model", joined([name(run.card.name), f", {run.record.parameters:,} parameters"])),
        ("Input", f"{width} {TIMES} {height} pixels, {run.card.resize}"),
        ("Classes", f"{len(run.card.classes):,}"),
        ("Data", joined([name(str(data.get("name", ""))), f": {listed(images)}"])),
        (
            "Machine",
            listed(accelerators)
            if accelerators
            else f"{machine.get('processor', 'unknown')}, {count(int(machine.get('cores') or 1), 'core')}",
        ),
        ("Started", run.started.replace("T", " ").replace("+00:00", " UTC") or None),
    ]
