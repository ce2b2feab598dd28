"""Dataset checks before training: classes, lists, duplicate images, and every label and image."""

from __future__ import annotations

import difflib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lookonce.errors import listing
from lookonce.io.hashing import file_sha256
from lookonce.labels.dataset import Dataset
from lookonce.labels.examine import Examined, examine
from lookonce.labels.records import CheckedDataset, CheckedRecord, Finding, LabelError

_SHOWN = 5


def check(
    dataset: Dataset,
    class_names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
    full: bool = False,
) -> CheckedDataset:
    """Check every label and image; repair and drop in memory, never on disk.

    Args:
        dataset: the dataset to check.
        class_names: class names in order; None takes those that the dataset declares, else all labelled ones,
            sorted.
        progress: called with (images done, total images).
        workers: number of threads; None chooses.
        full: decode every image; by default only headers, and images whose end marker is missing.

    Example:
        >>> from lookonce.labels.demo_set import make_demo_set
        >>> checked = check(Dataset.open(make_demo_set("data", images=5)), ["bolt", "nut"])
        >>> [(finding.outcome, finding.object) for finding in checked.findings]
        [('fatal', 'washer')]
    """
    examined: list[Examined] = []
    with ThreadPoolExecutor(workers or min(16, 2 * (os.cpu_count() or 1))) as pool:
        for one in pool.map(lambda index: examine(dataset, index, full), range(len(dataset))):
            examined.append(one)
            if progress:
                progress(len(examined), len(dataset))
        same = _same_bytes(examined, pool)
    found = Counter(label for one in examined for label in one.labels)
    names = tuple(class_names if class_names is not None else dataset.class_names or sorted(found))
    findings = [finding for one in examined for finding in one.findings]
    findings += _class_findings(dataset, examined, names, found) + _list_findings(dataset)
    findings += _twin_findings(dataset, same)
    if not found:
        fix = "label some objects, or fix the files that were dropped"
        findings.append(Finding(".", "", f"no usable box in {len(examined)} images", fix, "fatal"))
    dropped = {index for index, one in enumerate(examined) if one.dropped}
    unknown = {label: found[label] for label in sorted(set(found) - set(names))}
    records = [_record(one, names) for one in examined]
    return CheckedDataset(dataset, names, records, findings, dropped, unknown)


def fatal(checked: CheckedDataset) -> None:
    """Raise LabelError if any finding is fatal, listing the first ones."""
    found = [finding for finding in checked.findings if finding.outcome == "fatal"]
    if not found:
        return
    lines = []
    for finding in found[:_SHOWN]:
        where = f"{finding.file}, {finding.object}" if finding.object else finding.file
        lines.append(f"  {where}: {finding.what}" + (f"; {finding.fix}" if finding.fix else ""))
    if len(found) > _SHOWN:
        lines.append(f"  and {len(found) - _SHOWN} more: `lookonce data check` lists all")
    count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
    raise LabelError(f"{checked.dataset.root}: {count} must be fixed first\n" + "\n".join(lines))


def load_dataset(
    data: str | os.PathLike[str] | Dataset,
    class_names: Sequence[str] | None = None,
    say: Callable[[str], None] | None = None,
) -> CheckedDataset:
    """Open and check a labelled folder, and refuse it where a finding is fatal.

    Args:
        data: the dataset, or its folder.
        class_names: as in `check`.
        say: called with each line of a summary: counts, and the first findings that were fixed in memory.

    Raises:
        LabelError: no dataset there, or fatal findings.
    """
    checked = check(data if isinstance(data, Dataset) else Dataset.open(data), class_names)
    fatal(checked)
    if say is not None:
        fixed = [finding for finding in checked.findings if finding.outcome in ("repaired", "dropped")]
        notes = sum(finding.outcome == "note" for finding in checked.findings)
        boxes = sum(len(record.boxes) for record in checked.records)
        say(
            f"{checked.dataset.name}: {len(checked.records)} images, {boxes} boxes; "
            f"{len(fixed)} findings fixed, {notes} notes (lookonce data check shows them all)."
        )
        for finding in fixed[:_SHOWN]:
            say(f"  {finding.outcome}: {finding.file} {finding.object}: {finding.what}")
    return checked


def _record(one: Examined, names: tuple[str, ...]) -> CheckedRecord:
    """Leave out boxes of unknown classes: their finding is fatal, so no training misses them silently."""
    number = {name: index for index, name in enumerate(names)}
    kept = [index for index, label in enumerate(one.labels) if label in number]
    return CheckedRecord(
        name=one.record.name,
        image=one.record.image,
        size=one.size,
        boxes=np.zeros((0, 4), np.float32) if one.dropped else one.boxes[kept],
        classes=np.asarray([number[one.labels[index]] for index in kept], np.int64),
        difficult=one.difficult[kept],
    )


def _class_findings(
    dataset: Dataset, examined: Sequence[Examined], names: tuple[str, ...], found: Counter[str]
) -> list[Finding]:
    findings = []
    for label in sorted(set(found) - set(names)):
        images = [one for one in examined if label in one.labels]
        close = difflib.get_close_matches(label.lower(), [name.lower() for name in names], 1, 0.75)
        meant = next((f" (is {name!r} meant?)" for name in names if close and name.lower() == close[0]), "")
        what = (
            f"class {label!r} is not in the class list ({listing(names)}){meant}; "
            f"it has {found[label]} boxes in {len(images)} images"
        )
        fix = "add it to the class list, or rename or delete these boxes"
        file = os.path.relpath(images[0].record.annotation or dataset.root, dataset.root)
        findings.append(Finding(file, label, what, fix, "fatal"))
    for name in names:
        if name not in found:
            what, fix = f"class {name!r} has no box", "remove it from the class list, or label some objects"
            findings.append(Finding(".", name, what, fix, "note"))
    return findings


def _list_findings(dataset: Dataset) -> list[Finding]:
    findings = []
    by_file: dict[str, list[str]] = defaultdict(list)
    for file, entry in dataset.unknown_names:
        by_file[os.path.relpath(file, dataset.root)].append(entry)
    for file, entries in by_file.items():
        what = f"{len(entries)} lines match no image of the dataset, the first is {entries[0]!r}"
        findings.append(Finding(file, entries[0], what, "delete the lines or add the images", "note"))
    held = [(name, dataset.splits[name]) for name in ("train", "val", "test") if name in dataset.splits]
    for position, (name, indices) in enumerate(held):
        for other, others in held[position + 1 :]:
            if both := sorted(set(indices) & set(others)):
                file = os.path.relpath(dataset.items[both[0]].image, dataset.root)
                what = f"in both {name} and {other}, with {len(both) - 1} other images"
                findings.append(Finding(file, "", what, "keep each image in one list", "note"))
    return findings


def _same_bytes(examined: Sequence[Examined], pool: ThreadPoolExecutor) -> list[list[int]]:
    """Group indices of byte-identical images; only files of equal size are read."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for index, one in enumerate(examined):
        if not one.dropped:
            by_size[one.record.image.stat().st_size].append(index)
    maybe = [index for group in by_size.values() if len(group) > 1 for index in group]
    by_digest: dict[str, list[int]] = defaultdict(list)
    digests = pool.map(file_sha256, [examined[index].record.image for index in maybe])
    for index, digest in zip(maybe, digests, strict=True):
        by_digest[digest].append(index)
    return [group for group in by_digest.values() if len(group) > 1]


def _twin_findings(dataset: Dataset, groups: Sequence[Sequence[int]]) -> list[Finding]:
    """Report identical images that would inflate a result: in different splits, or without fixed splits."""
    home = {index: name for name in ("train", "val", "test") for index in dataset.splits.get(name, ())}
    findings = []
    for group in groups:
        homes = sorted({home.get(index, "no list") for index in group})
        if len(homes) > 1 or "no list" in homes:
            files = [os.path.relpath(dataset.items[index].image, dataset.root) for index in group]
            where = f"in {' and '.join(homes)}" if dataset.splits else "a random split may separate them"
            what = f"the same image, byte for byte, as {', '.join(files[1:4])}: {where}"
            fix = "keep one of them: validating on a training image inflates the result"
            findings.append(Finding(files[0], "", what, fix, "note"))
    return findings
