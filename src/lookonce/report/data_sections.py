"""The end of the report: data, label check, settings and machine, to tell this run from others."""

from __future__ import annotations

import numpy as np

from lookonce.report.chart import swatch_colour
from lookonce.report.facts import RunFacts
from lookonce.report.markup import Markup, cut, element, facts, joined, name, note, section, swatch, table
from lookonce.report.words import count, duration
from lookonce.runs.machine import most_memory_gb

_MOST_CLASSES = 100
_MOST_FINDINGS = 60
_LONGEST_TEXT = 400
# What spoils most comes first.
_OUTCOMES = ("dropped", "repaired", "note")


def data_section(run: RunFacts) -> Markup:
    """Images and objects in each list, by class; and the fingerprints."""
    lists = [
        (key, title) for key, title in (("train", "training"), ("val", "validation")) if run.lists.get(key)
    ]
    heads = ["class"] + [f"{title} {what}" for _, title in lists for what in ("objects", "images")]
    rows = []
    for label, one in enumerate(run.card.classes[:_MOST_CLASSES]):
        rows.append(
            [
                joined([swatch(swatch_colour(label)), name(one)]),
                *_counts(run, label, [key for key, _ in lists]),
            ]
        )
    rows.append([element("b", "all"), *_counts(run, None, [key for key, _ in lists])])
    more = len(run.card.classes) - _MOST_CLASSES
    prints = [
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
        note(f"and {more:,} more classes" if more > 0 else None),
        facts([("Data set", name(str(run.record.data.get("name", "")))), *prints], "facts whole"),
        note("Runs with the same fingerprint had images of the same names, with the same boxes and classes."),
    )


def _counts(run: RunFacts, label: int | None, lists: list[str]) -> list[str]:
    cells = []
    for key in lists:
        classes = [run.checked.records[index].classes for index in run.lists[key]]
        mine = [int(len(one) if label is None else np.count_nonzero(one == label)) for one in classes]
        images = len(mine) if label is None else sum(number > 0 for number in mine)
        cells += [f"{sum(mine):,}", f"{images:,}"]
    return cells


def findings_section(run: RunFacts) -> Markup:
    """What the label check found, what it did about it, and what to do."""
    findings = [one for one in run.checked.findings if one.outcome in _OUTCOMES]
    findings.sort(key=lambda one: _OUTCOMES.index(one.outcome))
    if not findings:
        return section("labels", "Label check", element("p", "Nothing was found amiss.", class_="says"))
    counts = [(outcome, sum(one.outcome == outcome for one in findings)) for outcome in _OUTCOMES]
    said = ", ".join(f"{number:,} {_PLAIN[outcome]}" for outcome, number in counts if number)
    rows = []
    for one in findings[:_MOST_FINDINGS]:
        badge = element("span", _PLAIN[one.outcome], class_=f"badge {one.outcome}")
        rows.append(
            [
                name(one.file),
                name(one.object),
                badge,
                cut(one.what, _LONGEST_TEXT),
                cut(one.fix, _LONGEST_TEXT),
            ]
        )
    more = len(findings) - _MOST_FINDINGS
    heads = ("file", "object", "outcome", "what was found", "what to do")
    return section(
        "labels",
        "Label check",
        table("Findings of the label check", heads, rows, (), "words"),
        note(f"and {more:,} more: lookonce data check shows them all" if more > 0 else None),
        lead=f"{count(len(findings), 'finding')}: {said}. What was repaired or left out was so for this "
        "training only; the files are as they were.",
    )


_PLAIN = {"dropped": "left out", "repaired": "repaired", "note": "noted"}


def settings_section(run: RunFacts) -> Markup:
    """Every setting of the run."""
    rows = [
        [element("code", key), cut(str(value), _LONGEST_TEXT)] for key, value in run.record.settings.items()
    ]
    half = -(-len(rows) // 2)
    tables = [
        table("Settings", ("setting", "value"), part, (), "settings")
        for part in (rows[:half], rows[half:])
        if part
    ]
    return section("settings", "Settings", element("div", *tables, class_="pair"))


def machine_section(run: RunFacts) -> Markup:
    """Where it ran, with what, and for how long."""
    machine = run.record.machine
    memory, used = machine.get("memory_gb"), most_memory_gb()
    whole = sum(one.seconds for one in run.times)
    measuring = sum(one.validation for one in run.times)
    software = [f"lookonce {run.record.lookonce}", f"Python {machine.get('python', '')}"]
    software += [f"{key} {value}" for key, value in (machine.get("versions") or {}).items()]
    pairs = [
        ("Processor", str(machine.get("processor", ""))),
        ("Cores", str(machine.get("cores", ""))),
        ("Memory", f"{memory:g} GB" if memory else None),
        ("Most memory used", f"{used:g} GB" if used else None),
        ("Accelerators", ", ".join(machine.get("accelerators") or []) or "none"),
        ("System", str(machine.get("system", ""))),
        ("Software", ", ".join(software)),
        ("All epochs", duration(whole) if run.times else None),
        ("Mean epoch", duration(whole / len(run.times)) if run.times else None),
        ("Validation", duration(measuring) if measuring else None),
        ("Began", run.started or None),
    ]
    return section("machine", "Machine and time", facts(pairs))
