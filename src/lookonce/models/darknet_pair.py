"""A Darknet cfg with its weights as a model: what `.cfg` plus `--weights` means where MODEL is asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lookonce._version import __version__
from lookonce.core.boxes import RESIZES
from lookonce.core.model_card import ModelCard
from lookonce.darknet import Cfg, DarknetWeights, read_cfg, read_weights
from lookonce.errors import LookonceError


def read_pair(path: Path, weights: str | Path | None) -> tuple[Cfg, DarknetWeights, ModelCard]:
    """The cfg, all its weights, and a card with classes named class_0, class_1, ... Raises LookonceError."""
    must_exist(path)
    if weights is None:
        raise LookonceError(f"{path}: a cfg alone isn't a model. Give its weights with --weights FILE.")
    must_exist(Path(weights))
    cfg = read_cfg(path)
    found = read_weights(weights, cfg)
    if not found.complete:
        raise LookonceError(
            f"{weights}: ends after layer {max(found.layers, default=-1)}: good to start a training from, "
            f"but {path} needs all its layers. Give the complete .weights file."
        )
    letter_box = cfg.net.integer("letter_box", 1)
    card = ModelCard(
        name=path.stem,
        classes=tuple(f"class_{index}" for index in range(_class_count(cfg, path))),
        input_size=cfg.input_size,
        resize="letterbox" if letter_box else "stretch",
        cfg=cfg.text,
        # The files' own date: the same pair is the same model whenever it is opened.
        created=datetime.fromtimestamp(Path(weights).stat().st_mtime, UTC).isoformat(timespec="seconds"),
        lookonce=__version__,
    )
    return cfg, found, card


def adjusted(card: ModelCard, path: Path, classes: str | Path | None, resize: str | None) -> ModelCard:
    """`card` with the names in the file `classes` and another `resize`, where given. Raises LookonceError."""
    if classes is not None:
        card = replace(card, classes=_read_names(classes, len(card.classes), path))
    if resize is None:
        return card
    if resize not in RESIZES:
        raise LookonceError(f"resize is {resize!r}, expected {' or '.join(RESIZES)}.")
    return replace(card, resize=resize)


def refuse_misfits(path: Path, weights: str | Path | None) -> None:
    """Raise LookonceError for weights given as MODEL, and for weights beside a file that has its own."""
    if path.suffix == ".weights":
        raise LookonceError(
            f"{path}: weights alone aren't a model. Give the .cfg, and this file with --weights."
        )
    if path.suffix != ".cfg" and weights is not None:
        raise LookonceError(f"{path}: holds its own weights; --weights goes with a .cfg only. Leave it out.")


def must_exist(path: Path) -> None:
    """Raise LookonceError unless `path` is a file."""
    if not path.exists():
        raise LookonceError(f"{path}: no such file. Check the path.")
    if path.is_dir():
        raise LookonceError(f"{path}: a folder, expected a file.")


def _class_count(cfg: Cfg, path: Path) -> int:
    counts = {head.classes for head in cfg.heads}
    if len(counts) != 1:
        found = ", ".join(map(str, sorted(counts))) or "none"
        raise LookonceError(f"{path}: its [yolo] sections must all have the same classes=, found {found}.")
    return counts.pop()


def _read_names(classes: str | Path, expected: int, model: Path) -> tuple[str, ...]:
    # Here, not above: a model with its own names needs none of the label formats.
    from lookonce.labels import read_classes

    must_exist(Path(classes))
    names = read_classes(Path(classes))
    if len(names) != expected:
        raise LookonceError(
            f"{classes}: {len(names)} class names, but {model} has {expected} classes. "
            "Give the names it was trained with."
        )
    return tuple(names)
