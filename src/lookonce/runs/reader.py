"""Read finished or running trainings from their folders, to compare them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookonce.darknet import read_cfg
from lookonce.errors import LookonceError
from lookonce.models.cards import read_card
from lookonce.runs.folder import RunFolder
from lookonce.runs.record import EpochTime, RunRecord, count_parameters, flat, read_times

_MEASURED = "val_map"


@dataclass(frozen=True)
class Run:
    """One run's folder. What older versions did not write is None, or missing in `settings`.

    `validated` are the names of the validation images; the `…_sha256` are of names and labels. `best` is
    the row of the epoch that was kept, None without validation.
    """

    name: str
    root: Path
    model: str
    parameters: int | None
    settings: dict[str, Any]
    rows: list[dict[str, float]]
    times: list[EpochTime]
    validated: tuple[str, ...]
    train_sha256: str | None
    val_sha256: str | None

    @property
    def best(self) -> dict[str, float] | None:
        """The first row with the highest AP50."""
        measured = [row for row in self.rows if math.isfinite(row.get(_MEASURED, math.nan))]
        return max(measured, key=lambda row: row[_MEASURED], default=None)

    @property
    def seconds(self) -> float | None:
        """The seconds of all epochs, None where some were not timed."""
        return sum(one.seconds for one in self.times) if len(self.times) >= len(self.rows) else None


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read runs from their folders. Raises LookonceError for a folder without a training, or a damaged one."""
    return [_read(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]


def differing(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return the settings that differ: by name each run's value, None where it has none."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    values = {key: [run.settings.get(key) for run in runs] for key in keys}
    return {key: each for key, each in values.items() if any(one != each[0] for one in each)}


def groups(
    runs: Sequence[Run], same: Callable[[Run, Run], bool], known: Callable[[Run], object]
) -> list[str]:
    """Return a letter for each run, equal for those that are the `same`; "" for one that is not `known`."""
    firsts: list[Run] = []
    letters = []
    for run in runs:
        if not known(run):
            letters.append("")
            continue
        place = next((index for index, first in enumerate(firsts) if same(first, run)), len(firsts))
        if place == len(firsts):
            firsts.append(run)
        letters.append(_letter(place))
    return letters


def same_training(one: Run, other: Run) -> bool:
    """Return whether both runs were trained on the same names, boxes and classes."""
    return one.train_sha256 is not None and one.train_sha256 == other.train_sha256


def same_validation(one: Run, other: Run) -> bool:
    """Return whether both runs were validated on the same images and, where known, the same labels."""
    if one.validated != other.validated:
        return False
    return None in (one.val_sha256, other.val_sha256) or one.val_sha256 == other.val_sha256


def warnings(runs: Sequence[Run]) -> list[str]:
    """Return why the figures of these runs should not be compared."""
    said = []
    measured = [run for run in runs if run.validated]
    for run in measured[1:]:
        first = measured[0]
        if run.validated != first.validated:
            said.append(
                f"{run.name} was validated on other images than {first.name}: their average precisions "
                "can't be compared. Measure both on one list with lookonce evaluate."
            )
        elif not same_validation(first, run):
            said.append(
                f"{run.name} was validated on the images of {first.name}, but with other labels: their "
                "average precisions can't be compared."
            )
    said += [
        f"{run.name} had no validation images: it has no average precision."
        for run in runs
        if not run.validated
    ]
    return said


def _read(root: Path, name: str) -> Run:
    folder = RunFolder(root)
    if not folder.metrics.is_file():
        begun = (root / "split.json").is_file()
        raise LookonceError(
            f"{root}: no epoch of this training is finished yet. Wait for the first."
            if begun
            else f"{root}: holds no training, metrics.csv is missing. Give the folder of a training."
        )
    rows = _rows(folder)
    record = RunRecord.read(root)
    split = _json(root / "split.json")
    validated = tuple(str(one) for one in split.get("val") or ())
    if record is None:
        return _older(folder, name, rows, validated)
    return Run(
        name,
        root,
        record.model,
        record.parameters,
        record.settings,
        rows,
        read_times(root),
        validated,
        record.data.get("train", {}).get("sha256"),
        record.data.get("val", {}).get("sha256"),
    )


def _older(folder: RunFolder, name: str, rows: list[dict[str, float]], validated: tuple[str, ...]) -> Run:
    """Read a run without run.json from its state and its model card."""
    settings = flat(_json(folder.last / "state.json").get("run") or {})
    card = read_card(folder.model) if folder.model.is_file() else None
    if card is not None:
        height, width = card.input_size
        settings |= {"model": card.name, "size": f"{height}x{width}"}
    return Run(
        name,
        folder.root,
        card.name if card else "?",
        count_parameters(read_cfg(folder.cfg)) if folder.cfg.is_file() else None,
        settings,
        rows,
        [],
        validated,
        str(card.trained_on.get("sha256")) if card and "sha256" in card.trained_on else None,
        None,
    )


def _rows(folder: RunFolder) -> list[dict[str, float]]:
    try:
        rows = folder.read_metrics()
        if not rows or any("epoch" not in row for row in rows):
            raise ValueError("no row with an epoch")
    except (OSError, ValueError, TypeError) as error:
        raise LookonceError(f"{folder.metrics}: is damaged ({error}). Compare without this run.") from error
    return rows


def _json(path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise LookonceError(f"{path}: is damaged ({error}). Compare without this run.") from error
    return values if isinstance(values, dict) else {}


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest end of each path that differs from the others."""
    parts = [Path(folder).resolve().parts for folder in folders]
    longest = max(map(len, parts), default=1)
    names: list[str] = []
    for length in range(1, longest + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(set(parts)):
            break
    return names


def _letter(place: int) -> str:
    return chr(ord("A") + place) if place < 26 else f"A{place - 25}"
