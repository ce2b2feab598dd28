"""Known networks by their count of floats, for error messages about weights of another cfg."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from lookonce.darknet.cfg import Cfg
from lookonce.darknet.layers import plan
from lookonce.darknet.zoo import NAMES, published

PUBLISHED_CLASSES = (80, 20)
# Published backbones: the network, and the number of its layers in the file.
CUTS = {
    "darknet53.conv.74": ("yolov3", 74),
    "yolov3-tiny.conv.11": ("yolov3-tiny", 11),
    "yolov3-tiny.conv.15": ("yolov3-tiny", 15),
    "yolov4.conv.137": ("yolov4", 137),
    "yolov4-tiny.conv.29": ("yolov4-tiny", 29),
}


@dataclass(frozen=True)
class Fit:
    """A known network with a given count of floats; `cut` names the file of a partial one."""

    network: str
    classes: int
    cut: str | None = None

    @property
    def cfg(self) -> Cfg:
        """Cfg to read such a file with."""
        return published(self.network, self.classes)

    def __str__(self) -> str:
        if self.cut:
            return f"{self.cut} (read with {self.network})"
        return f"{self.network} with {self.classes} classes"


def floats_of(cfg: Cfg, layers: int | None = None) -> int:
    """Return the count of floats in a weights file of `cfg`, or of its first `layers` layers."""
    return sum(layer.conv.floats for layer in plan(cfg)[:layers] if layer.conv)


@cache
def _known() -> tuple[tuple[int, Fit], ...]:
    whole = [
        (floats_of(published(name, classes)), Fit(name, classes))
        for name in NAMES
        for classes in PUBLISHED_CLASSES
    ]
    cut = [(floats_of(published(name), layers), Fit(name, 80, file)) for file, (name, layers) in CUTS.items()]
    return (*whole, *cut)


@cache
def _cut_anywhere() -> tuple[tuple[int, Fit], ...]:
    """Return files cut after any other convolution; networks with equal first layers are all listed."""
    found = []
    for name in NAMES:
        floats = 0
        for layer in plan(published(name)):
            if layer.conv:
                floats += layer.conv.floats
                found.append((floats, Fit(name, 80, f"the first {layer.index + 1} layers of {name}")))
    return tuple(found)


def known_fits(floats: int) -> tuple[Fit, ...]:
    """Return known networks and backbones with exactly `floats`, else those cut after that many."""
    exact = tuple(fit for count, fit in _known() if count == floats)
    return exact or tuple(fit for count, fit in _cut_anywhere() if count == floats)


def classes_that_fit(cfg: Cfg, floats: int) -> int | None:
    """Return the number of classes with which `cfg` would have `floats`, or None."""
    heads = cfg.heads
    if not heads or len({head.classes for head in heads}) > 1:
        return None
    inputs = {layer.index: layer.conv.in_per_group for layer in plan(cfg) if layer.conv}
    if any(head.layer - 1 not in inputs for head in heads):
        return None
    each = sum(len(head.mask) * (inputs[head.layer - 1] + 1) for head in heads)
    more, rest = divmod(floats - floats_of(cfg), each)
    classes = heads[0].classes + more
    return classes if rest == 0 and classes >= 1 else None


def advice(cfg: Cfg, floats: int) -> str:
    """Explain in one sentence what a file of `floats` is, where `cfg` does not fit it."""
    known = known_fits(floats)
    if known:
        return f"Its {floats:,} floats match {' or '.join(map(str, known))}: read it with that cfg."
    classes = classes_that_fit(cfg, floats)
    if classes is not None:
        return (
            f"Its {floats:,} floats match this cfg with {classes} classes instead of "
            f"{cfg.heads[0].classes}: read it with the cfg it was trained with."
        )
    return (
        "No known network has this count: read it with the cfg it was trained with, or copy the file again."
    )
