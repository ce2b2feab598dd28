"""Darknet weights files as arrays by layer, byte for byte (parser.c, load_weights_upto)."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookonce.darknet.cfg import Cfg
from lookonce.darknet.fits import advice
from lookonce.darknet.layers import ConvShape, Layer, plan
from lookonce.errors import LookonceError
from lookonce.io.atomic import atomic_file

Array = NDArray[np.float32]
FLOAT_BYTES = 4


class WeightsError(LookonceError):
    """Weights file does not fit its cfg, or cannot be read or written."""


@dataclass(frozen=True)
class Header:
    """File header. `seen`, the number of training images, takes 8 or 4 bytes."""

    major: int = 0
    minor: int = 2
    revision: int = 5
    seen: int = 0
    seen_bytes: int = 8

    @property
    def size(self) -> int:
        """Bytes before the first float."""
        return 12 + self.seen_bytes

    def to_bytes(self) -> bytes:
        """Return the header in Darknet's little-endian form."""
        seen = "Q" if self.seen_bytes == 8 else "I"
        return struct.pack(f"<3i{seen}", self.major, self.minor, self.revision, self.seen)


@dataclass(frozen=True, eq=False)
class ConvWeights:
    """Weights of one convolution, float32: `kernel` (out, in / groups, size, size), all others (out,).

    With batch norm `bias` is beta, `scale` gamma, `mean` and `variance` the rolling statistics.
    """

    bias: Array
    kernel: Array
    scale: Array | None = None
    mean: Array | None = None
    variance: Array | None = None

    def arrays(self) -> tuple[Array, ...]:
        """Return the arrays in the order of the file."""
        if self.scale is None or self.mean is None or self.variance is None:
            return self.bias, self.kernel
        return self.bias, self.scale, self.mean, self.variance, self.kernel


@dataclass(frozen=True, eq=False)
class DarknetWeights:
    """Weights by layer index; `complete` if the file has every convolution of the cfg."""

    header: Header
    layers: dict[int, ConvWeights]
    complete: bool


def read_header(path: str | os.PathLike[str]) -> tuple[Header, Array]:
    """Read a file's header and all floats after it. Raises WeightsError."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}).") from error
    if len(data) < 16:
        raise WeightsError(
            f"{path}: has {len(data)} bytes; the header of a Darknet weights file has 16 or 20."
        )
    major, minor, revision = struct.unpack_from("<3i", data)
    if not (0 <= major < 1000 and 0 <= minor < 1000):
        raise WeightsError(
            f"{path}: starts with version {major}.{minor}: not a Darknet weights file. "
            "Pass a Keras or ONNX file as the model itself."
        )
    wide = major * 10 + minor >= 2
    if wide and len(data) < 20:
        raise WeightsError(f"{path}: has {len(data)} bytes; its header alone has 20. Download it again.")
    (seen,) = struct.unpack_from("<Q" if wide else "<I", data, 12)
    header = Header(major, minor, revision, seen, 8 if wide else 4)
    if (len(data) - header.size) % FLOAT_BYTES:
        raise WeightsError(
            f"{path}: {len(data)} bytes, not a multiple of {FLOAT_BYTES} after the header: truncated. "
            "Download or copy it again."
        )
    return header, np.frombuffer(data, "<f4", offset=header.size).astype(np.float32, copy=False)


def read_weights(path: str | os.PathLike[str], cfg: Cfg) -> DarknetWeights:
    """Read a file with *its own* cfg; a partial file is valid if it ends exactly after a layer.

    Raises WeightsError: missing or extra floats (with the layer, and known networks that match), values that
    are not finite, negative variances.
    """
    header, floats = read_header(path)
    if not floats.size:
        raise WeightsError(f"{path}: has a header but no weights. Download or copy it again.")
    layers: dict[int, ConvWeights] = {}
    convolutions = _convolutions(cfg)
    position = 0
    for layer, conv in convolutions:
        left = floats.size - position
        if left == 0:
            break
        if left < conv.floats:
            raise WeightsError(
                f"{path}: ends inside {_place(cfg, layer, conv)}: {left:,} of its {conv.floats:,} floats "
                f"are present, {conv.floats - left:,} are missing. {advice(cfg, floats.size)}"
            )
        layers[layer.index] = _split(floats[position : position + conv.floats], conv)
        position += conv.floats
    if position < floats.size:
        raise WeightsError(
            f"{path}: {floats.size - position:,} floats are left over after the last layer of {cfg.source}, "
            f"which takes {position:,} of {floats.size:,}. {advice(cfg, floats.size)}"
        )
    for layer, conv in convolutions[: len(layers)]:
        _check_values(path, cfg, layer, conv, layers[layer.index])
    return DarknetWeights(header, layers, len(layers) == len(convolutions))


def write_weights(path: str | os.PathLike[str], cfg: Cfg, weights: DarknetWeights) -> None:
    """Write a weights file atomically.

    Raises WeightsError if shapes do not fit `cfg` or a layer between others is missing, LookonceError if the
    file cannot be written.
    """
    blocks = [weights.header.to_bytes()]
    convolutions = _convolutions(cfg)
    for position, (layer, conv) in enumerate(convolutions):
        if layer.index not in weights.layers:
            later = [other.index for other, _ in convolutions[position:] if other.index in weights.layers]
            if later:
                raise WeightsError(
                    f"{path}: layer {layer.index} has no weights although layer {later[0]} has."
                )
            break
        arrays = weights.layers[layer.index].arrays()
        shapes = [array.shape for array in arrays]
        expected = [(conv.filters,)] * (4 if conv.batch_normalize else 1) + [conv.kernel_shape]
        if shapes != expected:
            raise WeightsError(
                f"{path}: {_place(cfg, layer, conv)} has arrays {shapes}; expected {expected}."
            )
        blocks += [np.ascontiguousarray(array, "<f4").tobytes() for array in arrays]
    foreign = set(weights.layers) - {layer.index for layer, _ in convolutions}
    if foreign:
        raise WeightsError(f"{path}: layer {min(foreign)} is not a convolution of {cfg.source}.")
    with atomic_file(Path(path)) as temporary, temporary.open("wb") as file:
        file.writelines(blocks)


def random_weights(cfg: Cfg, seed: int) -> DarknetWeights:
    """Draw weights from `seed` for tests, scaled so that activations neither vanish nor explode."""
    random = np.random.default_rng(seed)
    planned = plan(cfg)
    before_shortcut = {layer.inputs[0] for layer in planned if layer.kind == "shortcut"}
    layers = {}
    for layer in planned:
        if layer.conv is None:
            continue
        conv, linear = layer.conv, layer.section.text("activation", "logistic") == "linear"
        fan_in = conv.in_per_group * conv.size * conv.size
        # Heads stay small too: widths and heights pass through exp.
        gain = (1 if linear else 2) if conv.batch_normalize else 0.1
        kernel = random.normal(0, np.sqrt(gain / fan_in), conv.kernel_shape)
        vectors = [random.normal(0, 0.1, conv.filters)]
        if conv.batch_normalize:
            # Residual branches are damped: each addition would double the variance otherwise.
            damping = 0.2 if layer.index in before_shortcut else 1.0
            vectors += [
                random.uniform(0.7, 1.3, conv.filters) * damping,
                random.normal(0, 0.1, conv.filters),
                random.uniform(0.7, 1.3, conv.filters),
            ]
        bias, *normal = (vector.astype(np.float32) for vector in vectors)
        layers[layer.index] = ConvWeights(bias, kernel.astype(np.float32), *normal)
    return DarknetWeights(Header(), layers, True)


def _convolutions(cfg: Cfg) -> list[tuple[Layer, ConvShape]]:
    return [(layer, layer.conv) for layer in plan(cfg) if layer.conv is not None]


def _split(floats: Array, conv: ConvShape) -> ConvWeights:
    vectors = 4 if conv.batch_normalize else 1
    bias, *normal = floats[: vectors * conv.filters].reshape(vectors, conv.filters)
    kernel = floats[vectors * conv.filters :].reshape(conv.kernel_shape)
    return ConvWeights(bias, kernel, *normal)


def _check_values(
    path: str | os.PathLike[str], cfg: Cfg, layer: Layer, conv: ConvShape, values: ConvWeights
) -> None:
    fix = "The file is damaged, or belongs to another cfg: read it with its own."
    for array in values.arrays():
        if not np.isfinite(array).all():
            raise WeightsError(f"{path}: {_place(cfg, layer, conv)} has values that are not finite. {fix}")
    if values.variance is not None and values.variance.min() < 0:
        worst = int(values.variance.argmin())
        raise WeightsError(
            f"{path}: {_place(cfg, layer, conv)} has variance {values.variance[worst]:.3g} in filter "
            f"{worst}; variances cannot be negative. {fix}"
        )


def _place(cfg: Cfg, layer: Layer, conv: ConvShape) -> str:
    return (
        f"layer {layer.index} (convolution {conv.size}x{conv.size}, {conv.filters} filters, "
        f"{cfg.source} line {layer.section.line})"
    )
