"""Static int8 quantization by ONNX Runtime, selected by the remaining average precision."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from lookonce.core.model_card import ModelCard
from lookonce.errors import LookonceError
from lookonce.evaluation.validation import AP_CONFIDENCE, Validation
from lookonce.inference import Detector
from lookonce.io.images import read_image
from lookonce.io.resize import to_input
from lookonce.models.cards import write_graph_card

# More images do not change the ranges, and each costs a pass through the network.
CALIBRATION_IMAGES = 100
# A smaller loss of AP is noise of the evaluation: no further variant is tried.
GOOD_ENOUGH = 0.005


@dataclass(frozen=True)
class Variant:
    """Which operations become int8: convolutions only or all, without heads or depthwise ones."""

    name: str
    float_heads: bool
    float_depthwise: bool = False
    convolutions_only: bool = False


# Heads in float first: their outputs include log-sizes, where a step of 1/255 of the range is visible. The
# channels of a depthwise convolution differ too much for one range. Other calibrations (entropy, percentiles)
# were never better than the smallest and largest value.
VARIANTS = (
    Variant("heads in float", float_heads=True),
    Variant("heads and depthwise in float", True, float_depthwise=True, convolutions_only=True),
    Variant("everything", float_heads=False),
)


@dataclass(frozen=True)
class Quantized:
    """The int8 graph, and (AP, AP50) before and after quantization."""

    graph: onnx.ModelProto
    variant: str
    before: tuple[float, float]
    after: tuple[float, float]

    @property
    def drops(self) -> tuple[float, float]:
        """Loss of AP and AP50, 0..1."""
        return self.before[0] - self.after[0], self.before[1] - self.after[1]


def quantize_graph(
    graph: onnx.ModelProto,
    card: ModelCard,
    data: str | Path,
    *,
    calibrate_split: str = "train",
    split: str = "val",
    max_drop: float = 0.01,
    force: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Quantized:
    """Quantize a raw float graph to static QDQ int8, with weights per channel.

    Variants are tried until one loses almost no AP; the one with the best AP is returned.

    Args:
        graph: raw graph, as from `read_raw`.
        card: its model card.
        data: folder of labelled images.
        calibrate_split: split for the activation ranges.
        split: split on which AP is measured.
        max_drop: largest allowed loss of AP50, 0..1.
        force: return the best variant whatever it loses.
        say: called with progress messages.

    Raises:
        LookonceError: every variant loses more than `max_drop`, or the data cannot be used.
    """
    validation = Validation.of_split(data, card.classes, split)
    calibration = Validation.of_split(data, card.classes, calibrate_split)
    images = [record.image for record in calibration.records]
    picked = np.random.default_rng(0).permutation(len(images))[:CALIBRATION_IMAGES]
    chosen = [images[index] for index in sorted(picked)]

    def measured(candidate: onnx.ModelProto) -> tuple[float, float]:
        write_graph_card(candidate, card)
        detector = Detector.from_graph(candidate.SerializeToString(), conf=AP_CONFIDENCE)
        metrics = validation.measure(detector).metrics
        return metrics.ap, metrics.ap50

    before = measured(graph)
    say(f"float: AP {before[0]:.4f}, AP50 {before[1]:.4f} on {len(validation.records)} images of {split}")
    results: list[Quantized] = []
    for variant in VARIANTS:
        candidate = _quantized(graph, card, chosen, variant)
        results.append(Quantized(candidate, variant.name, before, measured(candidate)))
        say(f"int8, {variant.name}: AP {results[-1].after[0]:.4f}, AP50 {results[-1].after[1]:.4f}")
        if results[-1].drops[0] <= GOOD_ENOUGH and results[-1].drops[1] <= max_drop:
            break
    allowed = [one for one in results if one.drops[1] <= max_drop]
    if not allowed and not force:
        best = max(results, key=lambda one: one.after[1])
        raise LookonceError(
            f"int8 loses {100 * best.drops[1]:.1f} points of AP50 ({before[1]:.3f} to {best.after[1]:.3f}, "
            f"{best.variant}); allowed are {100 * max_drop:.1f}. Nothing was written. Calibrate with more "
            "varied images, allow a larger loss, or force the export."
        )
    best = max(allowed or results, key=lambda one: one.after)
    say(f"Selected: {best.variant}")
    return best


def _quantized(
    graph: onnx.ModelProto, card: ModelCard, images: Sequence[Path], variant: Variant
) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType, quantize_static

    # A copy: quantize_static moves the weights of its input to a file.
    source = onnx.ModelProto()
    source.CopyFrom(graph)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        with _without_warnings():
            quantize_static(
                source,
                target,
                _Images(card, images),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_kept_in_float(graph, variant),
                op_types_to_quantize=["Conv"] if variant.convolutions_only else None,
            )
        return onnx.load(target)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence ONNX Runtime's advice and progress output."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


class _Images:
    """ONNX Runtime's CalibrationDataReader: one network input per call, then None."""

    def __init__(self, card: ModelCard, images: Sequence[Path]) -> None:
        self._inputs = self._read(card, images)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._inputs, None)

    @staticmethod
    def _read(card: ModelCard, images: Sequence[Path]) -> Iterator[dict[str, Any]]:
        for image in images:
            pixels, _ = to_input(read_image(image), card.input_size, card.resize)
            yield {"image": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}


def _kept_in_float(graph: onnx.ModelProto, variant: Variant) -> list[str]:
    """Return the names of the convolutions that a variant keeps in float."""
    heads = {output.name for output in graph.graph.output}
    sources = {node.input[0] for node in graph.graph.node if node.output[0] in heads}
    kept = []
    for node in graph.graph.node:
        groups = next((one.i for one in node.attribute if one.name == "group"), 1)
        makes_head, depthwise = node.output[0] in sources, groups > 1
        if node.op_type == "Conv" and (
            (variant.float_heads and makes_head) or (variant.float_depthwise and depthwise)
        ):
            kept.append(node.name)
    return kept
