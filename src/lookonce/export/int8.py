"""int8: static quantization by ONNX Runtime, chosen and judged by the average precision that it leaves."""

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

# More change the ranges no further, and each costs a pass through the network.
CALIBRATION_IMAGES = 100
# A loss of AP below this is the evaluation's own grain: no further choice is tried.
GOOD_ENOUGH = 0.005


@dataclass(frozen=True)
class Choice:
    """What becomes int8: convolutions or all that can, but for the heads' and the depthwise ones."""

    name: str
    float_heads: bool
    float_depthwise: bool = False
    convolutions_only: bool = False


# The heads stay first: their sums are log-sizes, which a step of 1/255 of their range moves visibly. A
# depthwise convolution's channels differ too much for one range. Other ways to find the ranges (entropy,
# percentiles) were never better than the smallest and largest value.
CHOICES = (
    Choice("heads in float", float_heads=True),
    Choice("heads and depthwise in float", True, float_depthwise=True, convolutions_only=True),
    Choice("everything", float_heads=False),
)


@dataclass(frozen=True)
class Quantized:
    """The int8 graph, and (AP, AP50) before and after on the images of `split`."""

    graph: onnx.ModelProto
    choice: str
    before: tuple[float, float]
    after: tuple[float, float]

    @property
    def drops(self) -> tuple[float, float]:
        """AP and AP50 lost, 0..1."""
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
    """A raw float graph as static QDQ int8, weights per channel, calibrated on images of `data`.

    The choices are tried in turn until one loses next to no AP. Of those that lose at most `max_drop` of AP50
    on `split` the one with the best AP stays. Raises LookonceError when there is none, unless `force`, and
    for data that can't be used.
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
    tried: list[Quantized] = []
    for choice in CHOICES:
        candidate = _quantized(graph, card, chosen, choice)
        tried.append(Quantized(candidate, choice.name, before, measured(candidate)))
        say(f"int8, {choice.name}: AP {tried[-1].after[0]:.4f}, AP50 {tried[-1].after[1]:.4f}")
        if tried[-1].drops[0] <= GOOD_ENOUGH and tried[-1].drops[1] <= max_drop:
            break
    allowed = [one for one in tried if one.drops[1] <= max_drop]
    if not allowed and not force:
        best = max(tried, key=lambda one: one.after[1])
        raise LookonceError(
            f"int8 loses {100 * best.drops[1]:.1f} points of AP50 ({before[1]:.3f} to {best.after[1]:.3f}, "
            f"{best.choice}); --max-drop allows {100 * max_drop:.1f}. Nothing was written. Give more varied "
            "images to --calibrate, allow more with --max-drop, or write it all the same with --force."
        )
    best = max(allowed or tried, key=lambda one: one.after)
    say(f"Chosen: {best.choice}")
    return best


def _quantized(
    graph: onnx.ModelProto, card: ModelCard, images: Sequence[Path], choice: Choice
) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType, quantize_static

    # A copy: quantize_static moves the weights of what it is given to a file of its own.
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
                nodes_to_exclude=_kept_in_float(graph, choice),
                op_types_to_quantize=["Conv"] if choice.convolutions_only else None,
            )
        return onnx.load(target)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """ONNX Runtime advises fusions that `network_graph` has done already, and prints its progress."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


class _Images:
    """ONNX Runtime's CalibrationDataReader: one network input after another, then None."""

    def __init__(self, card: ModelCard, images: Sequence[Path]) -> None:
        self._inputs = self._read(card, images)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._inputs, None)

    @staticmethod
    def _read(card: ModelCard, images: Sequence[Path]) -> Iterator[dict[str, Any]]:
        for image in images:
            pixels, _ = to_input(read_image(image), card.input_size, card.resize)
            yield {"image": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}


def _kept_in_float(graph: onnx.ModelProto, choice: Choice) -> list[str]:
    """Names of the convolutions that `choice` leaves as they are."""
    heads = {output.name for output in graph.graph.output}
    sources = {node.input[0] for node in graph.graph.node if node.output[0] in heads}
    kept = []
    for node in graph.graph.node:
        groups = next((one.i for one in node.attribute if one.name == "group"), 1)
        makes_head, depthwise = node.output[0] in sources, groups > 1
        if node.op_type == "Conv" and (
            (choice.float_heads and makes_head) or (choice.float_depthwise and depthwise)
        ):
            kept.append(node.name)
    return kept
