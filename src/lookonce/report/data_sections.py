"""The report's last sections: data, label check, settings and machine."""

from __future__ import annotations

import numpy as np

from lookonce.report.chart import swatch_colour
from lookonce.report.facts import RunFacts
from lookonce.report.markup import Markup, cut, element, facts, joined, name, note, section, swatch, table
from lookonce.report.words import count, duration
from lookonce.runs.machine import most_memory_gb

_MAX_CLASSES = 100
_MAX_FINDINGS = 60
_MAX_TEXT = 400
# Most severe first.
_OUTCOMES = ("dropped", "repaired", "note")


def data_section(run: RunFacts) -> Markup:
    """Return objects and images per class and split, with the label fingerprints."""
    lists = [
        (key, title) for key, title in (("train", "training"), ("val", "validation")) if run.lists.get(key)
    ]
    heads = ["class"] + [f"{title} {unit}" for _, title in lists for unit in ("objects", "images")]
    rows = []
    for label, one in enumerate(run.card.classes[:_MAX_CLASSES]):
        rows.append(
            [
                joined([swatch(swatch_colour(label)), name(one)]),
                *_counts(run, label, [key for key, _ in lists]),
            ]
        )
    rows.append([element("b", "all"), *_counts(run, None, [key for key, _ in lists])])
    more = len(run.card.classes) - _MAX_CLASSES
    fingerprints = [
        (
            f"SHA-256 of the {title} labels",
            element("code", str(run.record.data.get(key, {}).get("sha256", ""))),
        )
        for key, title in lists
    ]
    return section(
        "data",
        "Data",
        table("Objects and images by class", heads, rows, range(1, len(heads)), "figures"),
        note(f"{more:,} more classes are not listed." if more > 0 else None),
        facts([("Dataset", name(str(run.record.data.get("name", "")))), *fingerprints], "facts whole"),
        note("Runs with equal fingerprints used the same image names, boxes and classes."),
    )


def _counts(run: RunFacts, label: int | None, lists: list[str]) -> list[str]:
    cells = []
    for key in lists:
        classes = [run.checked.records[index].classes for index in run.lists[key]]
        per_image = [int(len(one) if label is None else np.count_nonzero(one == label)) for one in classes]
        images = len(per_image) if label is None else sum(number > 0 for number in per_image)
        cells += [f"{sum(per_image):,}", f"{images:,}"]
    return cells


def findings_section(run: RunFacts) -> Markup:
    """Return the findings of the label check, with outcome and suggested fix."""
    findings = [one for one in run.checked.findings if one.outcome in _OUTCOMES]
    findings.sort(key=lambda one: _OUTCOMES.index(one.outcome))
    if not findings:
        return section("labels", "Label check", element("p", "No problems found.", class_="statement"))
    counts = [(outcome, sum(one.outcome == outcome for one in findings)) for outcome in _OUTCOMES]
    totals = ", ".join(f"{number:,} {_OUTCOME_WORDS[outcome]}" for outcome, number in counts if number)
    rows = []
    for one in findings[:_MAX_FINDINGS]:
        badge = element("span", _OUTCOME_WORDS[one.outcome], class_=f"badge {one.outcome}")
        rows.append(
            [
                name(one.file),
                name(one.object),
                badge,
                cut(one.what, _MAX_TEXT),
                cut(one.fix, _MAX_TEXT),
            ]
        )
    more = len(findings) - _MAX_FINDINGS
    heads = ("file", "object", "outcome", "problem", "fix")
    return section(
        "labels",
        "Label check",
        table("Findings of the label check", heads, rows, (), "words"),
        note(f"{more:,} more findings: run lookonce data check to list them all." if more > 0 else None),
        lead=f"{count(len(findings), 'finding')}: {totals}. Repairs and removals applied to this "
        "training only; the label files are unchanged.",
    )


_OUTCOME_WORDS = {"dropped": "ignored", "repaired": "repaired", "note": "noted"}


def settings_section(run: RunFacts) -> Markup:
    """Return a table of all settings of the run."""
    rows = [[element("code", key), cut(str(value), _MAX_TEXT)] for key, value in run.record.settings.items()]
    half = -(-len(rows) // 2)
    tables = [
        table("Settings", ("setting", "value"), part, (), "settings")
        for part in (rows[:half], rows[half:])
        if part
    ]
    return section("settings", "Settings", element("div", *tables, class_="pair"))


def machine_section(run: RunFacts) -> Markup:
    """Return hardware, software versions and timings of the run."""
    machine = run.record.machine
    memory, used = machine.get("memory_gb"), most_memory_gb()
    total = sum(one.seconds for one in run.times)
    validating = sum(one.validation for one in run.times)
    software = [f"lookonce {run.record.lookonce}", f"Python {machine.get('python', '')}"]
    software += [f"{key} {value}" for key, value in (machine.get("versions") or {}).items()]
    pairs = [
        ("Processor", str(machine.get("processor", ""))),
        ("Cores", str(machine.get("cores", ""))),
        ("Memory", f"{memory:g} GB" if memory else None),
        ("Peak memory", f"{used:g} GB" if used else None),
        ("Accelerators", ", ".join(machine.get("accelerators") or []) or "none"),
        ("System", str(machine.get("system", ""))),
        ("Software", ", ".join(software)),
        ("All epochs", duration(total) if run.times else None),
        ("Average epoch", duration(total / len(run.times)) if run.times else None),
        ("Validation", duration(validating) if validating else None),
        ("Started", run.started or None),
    ]
    return section("machine", "Machine and time", facts(pairs))
