"""The state in `last/` that a run is resumed from, written whole or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lookonce.errors import LookonceError
from lookonce.io.atomic import atomic_file, write_text

STATE = "state.json"


@dataclass(frozen=True)
class Progress:
    """Progress of a run: epochs done, the rows of metrics.csv, and the best epoch's number and mAP."""

    epochs_done: int
    rows: list[dict[str, Any]]
    best_epoch: int = 0
    best_score: float = -1.0


def save(
    folder: Path,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    done: Progress,
    run: dict[str, Any],
) -> None:
    """Write the arrays, then the small JSON that names them: after a kill in between, the older pair is valid."""
    arrays = {
        f"model_{number:04d}": np.asarray(keras.ops.convert_to_numpy(variable))
        for number, variable in enumerate(model.variables)
    }
    arrays |= {
        f"optimizer_{number:04d}": keras.ops.convert_to_numpy(variable)
        for number, variable in enumerate(optimizer.variables)
    }
    name = f"epoch-{done.epochs_done:04d}.npz"
    with atomic_file(folder / name) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    write_text(folder / STATE, json.dumps({"arrays": name, "run": run, **vars(done)}, indent=1))
    for older in folder.glob("epoch-*.npz"):
        if older.name != name:
            older.unlink(missing_ok=True)


def load(folder: Path, run: dict[str, Any]) -> tuple[Progress, dict[str, Any]] | None:
    """Return the saved progress and arrays, or None. Raises LookonceError when `run` differs."""
    path = folder / STATE
    if not path.exists():
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        with np.load(folder / state["arrays"]) as archive:
            arrays = dict(archive)
    except (OSError, ValueError, KeyError) as error:
        raise LookonceError(
            f"{path}: cannot resume, the saved state is damaged ({error}). Train anew in another folder."
        ) from error
    saved = state.pop("run")
    changed = [
        f"{key} was {saved.get(key)!r}, now {value!r}"
        for key, value in run.items()
        if saved.get(key) != value
    ]
    if changed:
        raise LookonceError(
            f"{path}: a resumed run continues as it was started, but {'; '.join(changed)}. "
            "Use the same settings, or start anew in another folder."
        )
    del state["arrays"]
    return Progress(**state), arrays


def restore(arrays: dict[str, Any], model: keras.Model, optimizer: keras.optimizers.Optimizer | None) -> None:
    """Restore saved arrays; `optimizer` is None when the next epoch starts a new stage with a fresh one."""
    targets = [("model", model.variables)] + (
        [("optimizer", optimizer.variables)] if optimizer is not None else []
    )
    for kind, variables in targets:
        for number, variable in enumerate(variables):
            variable.assign(arrays[f"{kind}_{number:04d}"])
