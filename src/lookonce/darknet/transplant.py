"""Transfer of one network's weights to another, layer by layer, with the reason for each layer skipped."""

from __future__ import annotations

from dataclasses import dataclass

from lookonce.darknet.cfg import Cfg
from lookonce.darknet.layers import ConvShape, Layer, plan
from lookonce.darknet.weights import ConvWeights, DarknetWeights


@dataclass(frozen=True)
class Row:
    """One convolution of the target: its shape, whether its weights were taken, and why not."""

    layer: int
    shape: str
    taken: bool
    reason: str = ""


@dataclass(frozen=True)
class Transplant:
    """Weights to load by layer index of the target, and one row per convolution."""

    layers: dict[int, ConvWeights]
    rows: tuple[Row, ...]


def transplant(source: DarknetWeights, source_cfg: Cfg, target_cfg: Cfg) -> Transplant:
    """Match layers by index while kinds and inputs agree, and take weights of equal shape.

    A head's convolution is taken only if its classes and number of masks agree too. The arrays are shared
    with the source, not copied. Raises CfgError for an invalid cfg.
    """
    source_layers, target_layers = plan(source_cfg), plan(target_cfg)
    split = _first_difference(source_layers, target_layers)
    last = max(source.layers, default=-1)
    heads = [_head_shapes(source_cfg), _head_shapes(target_cfg)]
    layers: dict[int, ConvWeights] = {}
    rows: list[Row] = []
    for layer in target_layers:
        if layer.conv is None:
            continue
        index, reason = layer.index, ""
        if index >= split:
            reason = f"structure differs from layer {split} on"
        elif index not in source.layers:
            reason = f"file ends at layer {last}" if index > last else "not in the file"
        else:
            reason = _difference(source_layers[index].conv, layer.conv) or _head_difference(index, *heads)
        if not reason:
            layers[index] = source.layers[index]
        rows.append(Row(index, _shape_text(layer.conv), not reason, reason))
    return Transplant(layers, tuple(rows))


def _first_difference(source_layers: tuple[Layer, ...], target_layers: tuple[Layer, ...]) -> int:
    for index, (one, other) in enumerate(zip(source_layers, target_layers, strict=False)):
        if (one.kind, one.inputs) != (other.kind, other.inputs):
            return index
    return min(len(source_layers), len(target_layers))


def _difference(found: ConvShape | None, expected: ConvShape) -> str:
    if found is None or found == expected:
        return ""
    if found.filters != expected.filters:
        return f"{found.filters} filters in the file, {expected.filters} here"
    if found.batch_normalize != expected.batch_normalize:
        return "batch norm in the file, none here" if found.batch_normalize else "no batch norm in the file"
    return f"{_shape_text(found)} in the file, {_shape_text(expected)} here"


def _head_shapes(cfg: Cfg) -> dict[int, tuple[int, int]]:
    return {head.layer - 1: (head.classes, len(head.mask)) for head in cfg.heads}


def _head_difference(
    index: int, source_heads: dict[int, tuple[int, int]], target_heads: dict[int, tuple[int, int]]
) -> str:
    found, expected = source_heads.get(index), target_heads.get(index)
    if found is None or expected is None or found == expected:
        return ""
    return (
        f"a head for {found[0]} classes and {found[1]} anchors in the file, "
        f"{expected[0]} and {expected[1]} here"
    )


def _shape_text(conv: ConvShape) -> str:
    grouped = f", {conv.groups} groups" if conv.groups > 1 else ""
    return f"{conv.size}x{conv.size}, {conv.in_per_group * conv.groups} to {conv.filters}{grouped}"
