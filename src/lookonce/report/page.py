"""The training report, report.html, assembled from its sections."""

from __future__ import annotations

from pathlib import Path

from lookonce.io.atomic import write_text
from lookonce.report.anchor_section import anchors_section
from lookonce.report.calibration_section import calibration_section
from lookonce.report.class_sections import classes_section, confusion_section
from lookonce.report.curve_section import curves_section
from lookonce.report.data_sections import data_section, findings_section, machine_section, settings_section
from lookonce.report.facts import RunFacts
from lookonce.report.galleries import batches_section, validation_section
from lookonce.report.markup import Markup, joined, name
from lookonce.report.page_frame import page
from lookonce.report.summary_section import summary_section

REPORT = "report.html"


def write_report(run: RunFacts) -> Path:
    """Write report.html into the run's folder and return its path.

    Raises:
        LookonceError: The file cannot be written.
    """
    path = run.root / REPORT
    write_text(path, report_page(run))
    return path


def report_page(run: RunFacts) -> Markup:
    """Return the report as HTML, without the validation sections if there are no validation images."""
    metrics = run.metrics
    parts: list[tuple[str, Markup | None]] = [
        ("Summary", summary_section(run)),
        ("Curves", curves_section(run.rows, run.best_epoch, run.times)),
    ]
    if metrics is not None:
        parts += [
            ("Classes", classes_section(metrics)),
            ("Confusion", confusion_section(run, metrics)),
            ("Calibration", calibration_section(run, metrics)),
            ("Images", validation_section(run, metrics)),
        ]
    parts += [
        ("Anchors", anchors_section(run)),
        ("Batches", batches_section(run)),
        ("Data", data_section(run)),
        ("Label check", findings_section(run)),
        ("Settings", settings_section(run)),
        ("Machine", machine_section(run)),
    ]
    title = joined([name(run.card.name), " on ", name(str(run.record.data.get("name", "")))])
    return page("Training report", title, f"{run.card.name} on {run.record.data.get('name', '')}", parts)
