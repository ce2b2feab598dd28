"""run.json and last/times.json: the record of a run for reports and comparisons."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lookonce.darknet import Cfg, plan
from lookonce.errors import LookonceError
from lookonce.io.atomic import write_text

FORMAT = 1
RECORD = "run.json"
TIMES = Path("last") / "times.json"


@dataclass(frozen=True)
class RunRecord:
    """A run as it was started; two equal runs on one machine leave equal files.

    `data` has the data set's `name`, and for `train` and `val` its `images`, `boxes` and `sha256` of names
    and labels; `settings` are flat: those of a part are named `part.setting`.
    """

    model: str
    parameters: int
    input_size: tuple[int, int]
    classes: tuple[str, ...]
    settings: dict[str, Any]
    data: dict[str, Any]
    machine: dict[str, Any]
    lookonce: str
    format: int = FORMAT

    def write(self, root: Path) -> None:
        """Write run.json to the run's folder."""
        write_text(root / RECORD, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, root: Path) -> RunRecord | None:
        """Read run.json; None for a folder without one. Raises LookonceError for a damaged file."""
        path = root / RECORD
        if not path.is_file():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise ValueError(f"its format is {values['format']!r}, this version reads {FORMAT}")
            record = cls(**{name: values[name] for name in cls.__dataclass_fields__})
            dicts = (record.settings, record.data, record.machine)
            if not all(isinstance(one, dict) for one in dicts):
                raise TypeError("settings, data and machine must be objects")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise LookonceError(f"{path}: is damaged ({error}). Compare without this run.") from error
        return record


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level with dotted names."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def count_parameters(cfg: Cfg) -> int:
    """Count the trainable parameters: kernels, biases, and batch normalisation's scales."""
    return sum(
        conv.filters * (2 if conv.batch_normalize else 1) + _size(conv.kernel_shape)
        for conv in (layer.conv for layer in plan(cfg))
        if conv is not None
    )


def _size(shape: Sequence[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


@dataclass(frozen=True)
class EpochTime:
    """Seconds of one epoch, saving included; `validation` of them for measuring."""

    epoch: int
    seconds: float
    validation: float = 0.0


@dataclass
class Stopwatch:
    """Times a run's epochs into last/times.json: metrics.csv has no clock, so that equal runs' are equal.

    Made just before the training begins. After `--resume` it goes on from the epochs that were timed before.
    """

    root: Path
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    _since: float = field(default_factory=time.monotonic)
    _validation: float = 0.0
    _epochs: dict[int, EpochTime] = field(default_factory=dict)

    @classmethod
    def start(cls, root: Path, resume: bool) -> Stopwatch:
        """Start a watch for the run in `root`; with `resume`, continue the earlier one."""
        watch = cls(root)
        if resume:
            watch._epochs = {one.epoch: one for one in read_times(root)}
            watch.started = read_start(root) or watch.started
        return watch

    def validated(self, seconds: float) -> None:
        """Count `seconds` of the running epoch as validation."""
        self._validation += seconds

    def epoch_done(self, epoch: int) -> None:
        """Record an epoch, counted from 1, and start the next one."""
        now = time.monotonic()
        self._epochs[epoch] = EpochTime(epoch, round(now - self._since, 3), round(self._validation, 3))
        self._since, self._validation = now, 0.0
        times = [asdict(one) for _, one in sorted(self._epochs.items())]
        write_text(self.root / TIMES, json.dumps({"started": self.started, "epochs": times}) + "\n")


def read_times(root: Path) -> list[EpochTime]:
    """Return the epochs' times in order; an empty list where there are none."""
    try:
        rows = [
            (int(one["epoch"]), float(one["seconds"]), float(one["validation"]))
            for one in _kept(root)["epochs"]
        ]
    except (ValueError, KeyError, TypeError):
        return []
    return [EpochTime(*row) for row in sorted(rows)]


def read_start(root: Path) -> str:
    """Return when the run began, in UTC (ISO 8601); "" where it is unknown."""
    return str(_kept(root).get("started", ""))


def _kept(root: Path) -> dict[str, Any]:
    try:
        values = json.loads((root / TIMES).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
