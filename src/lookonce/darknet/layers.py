"""Inputs and shapes of a cfg's layers, following Darknet's parser.c."""

from __future__ import annotations

from dataclasses import dataclass

from lookonce.darknet.cfg import Cfg, Section

NETWORK_INPUT = -1
# Darknet's constants (activations.h, blas.c), shared by all graph builders.
LEAKY_SLOPE = 0.1
NORM_EPSILON = 1e-5
# A head's log-sizes are clamped to -10..10 wherever they are decoded: e^10 times an anchor is far outside any
# image, and still a number in float16. Darknet itself clamps nothing.
LARGEST_LOG_SIZE = 10.0


@dataclass(frozen=True)
class ConvShape:
    """Shape of a convolution in a weights file."""

    filters: int
    in_per_group: int
    size: int
    groups: int
    batch_normalize: bool

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """(out, in / groups, size, size), the order in the file."""
        return self.filters, self.in_per_group, self.size, self.size

    @property
    def floats(self) -> int:
        """Count of float32: biases, kernel, and with batch norm scales, means and variances."""
        vectors = 4 if self.batch_normalize else 1
        return self.filters * (vectors + self.in_per_group * self.size * self.size)


@dataclass(frozen=True)
class Layer:
    """One layer at one input size. `inputs` are absolute indices, -1 the network's input.

    `in_channels` is the depth of the first input, of a route the sum of its inputs; `channels`, `height`,
    `width` are the output's.
    """

    index: int
    section: Section
    inputs: tuple[int, ...]
    in_channels: int
    channels: int
    height: int
    width: int
    conv: ConvShape | None = None

    @property
    def kind(self) -> str:
        """The section's kind."""
        return self.section.kind

    @property
    def strides(self) -> tuple[int, int]:
        """(vertical, horizontal) stride of a convolution or pool, or factor of an upsample."""
        return _strides(self.section)

    @property
    def padding(self) -> int:
        """Padding of a convolution per side; of a pool in total (half of it, rounded down, left and top)."""
        return _padding(self.section)


@dataclass(frozen=True)
class _Shape:
    channels: int
    height: int
    width: int


def plan(cfg: Cfg, input_size: tuple[int, int] | None = None) -> tuple[Layer, ...]:
    """Resolve every layer's inputs and shapes for `input_size` (height, width), by default the cfg's own.

    Raises CfgError with the line: an index of no earlier layer, incompatible shapes, groups that do not
    divide the channels, wrong filters before a head, an input size that is no multiple of the stride.
    """
    height, width = input_size or cfg.input_size
    stride = total_stride(cfg)
    if height < stride or width < stride or height % stride or width % stride:
        fit = [max(stride, round(side / stride) * stride) for side in (height, width)]
        raise cfg.net.error(
            f"input size is {width}x{height} (width x height); both must be multiples of {stride}, "
            f"the network's stride. The nearest is {fit[1]}x{fit[0]}",
            "width",
        )
    heads = {head.layer: (head.classes + 5) * len(head.mask) for head in cfg.heads}
    layers: list[Layer] = []
    shapes = {NETWORK_INPUT: _Shape(_positive(cfg.net, "channels", 3), height, width)}
    for index, section in enumerate(cfg.layers):
        inputs = _inputs(section, index)
        sources = [shapes[i] for i in inputs]
        conv = None
        in_channels, shape = sources[0].channels, sources[0]
        if section.kind == "convolutional":
            conv = _conv(section, in_channels)
            shape = _slide(section, sources[0], 2 * _padding(section), conv.filters)
        elif section.kind == "maxpool":
            shape = _slide(section, sources[0], _padding(section), in_channels)
        elif section.kind == "upsample":
            factor = _strides(section)[0]
            shape = _Shape(in_channels, shape.height * factor, shape.width * factor)
        elif section.kind == "route":
            shape = _join(section, inputs, sources)
            in_channels = sum(source.channels for source in sources)
        elif section.kind == "shortcut":
            _same_grid(section, inputs, sources)
        elif section.kind == "yolo" and in_channels != heads[index]:
            raise _wrong_filters(cfg, index, in_channels, heads[index])
        shapes[index] = shape
        layers.append(
            Layer(index, section, inputs, in_channels, shape.channels, shape.height, shape.width, conv)
        )
    return tuple(layers)


def layer_strides(cfg: Cfg) -> tuple[float, ...]:
    """Return each layer's stride relative to the network's input. Raises CfgError."""
    strides = {NETWORK_INPUT: 1.0}
    for index, section in enumerate(cfg.layers):
        step = 1.0
        if section.kind in ("convolutional", "maxpool"):
            step = float(max(_strides(section)))
        elif section.kind == "upsample":
            step = 1.0 / _strides(section)[0]
        strides[index] = strides[_inputs(section, index)[0]] * step
    return tuple(strides[index] for index in range(len(cfg.layers)))


def total_stride(cfg: Cfg) -> int:
    """Return the coarsest layer's stride (32 for the YOLO family). Raises CfgError."""
    return round(max(layer_strides(cfg), default=1.0))


def _inputs(section: Section, index: int) -> tuple[int, ...]:
    """Return absolute indices; negative ones in the file count back from the layer itself."""
    if section.kind not in ("route", "shortcut"):
        return (index - 1,)
    key = "layers" if section.kind == "route" else "from"
    absolute = []
    for written in section.integers(key):
        found = index + written if written < 0 else written
        if not 0 <= found < index:
            raise section.error(
                f"is layer {index}, and {key} names {written}"
                + (f", that is layer {found}" if written < 0 else "")
                + (
                    f"; expected an earlier layer, 0 to {index - 1} or -1 to -{index}"
                    if index
                    else "; it has none"
                ),
                key,
            )
        absolute.append(found)
    return tuple(absolute) if section.kind == "route" else (index - 1, *absolute)


def _conv(section: Section, in_channels: int) -> ConvShape:
    filters, groups = _positive(section, "filters", 1), _positive(section, "groups", 1)
    if in_channels % groups or filters % groups:
        raise section.error(
            f"has groups={groups}, which must divide its {in_channels} input channels and {filters} filters",
            "groups",
        )
    if section.integer("dilation", 1) != 1:
        raise section.error("has a dilation, which is not supported; expected dilation=1", "dilation")
    normalized = bool(section.integer("batch_normalize", 0))
    return ConvShape(filters, in_channels // groups, _positive(section, "size", 1), groups, normalized)


def _slide(section: Section, source: _Shape, padding: int, channels: int) -> _Shape:
    size, (down, across) = _size(section), _strides(section)
    height, width = (
        (side + padding - size) // step + 1 for side, step in zip(_grid(source), (down, across), strict=True)
    )
    if min(height, width) < 1:
        raise section.error(f"of size {size} does not fit its {source.width}x{source.height} input", "size")
    return _Shape(channels, height, width)


def _join(section: Section, inputs: tuple[int, ...], sources: list[_Shape]) -> _Shape:
    _same_grid(section, inputs, sources)
    groups, group = _positive(section, "groups", 1), section.integer("group_id", 0)
    if not 0 <= group < groups:
        raise section.error(
            f"has group_id={group}; with groups={groups} expected 0 to {groups - 1}", "group_id"
        )
    for index, source in zip(inputs, sources, strict=True):
        if source.channels % groups:
            raise section.error(
                f"has groups={groups}, which does not divide the {source.channels} channels of layer {index}",
                "groups",
            )
    return _Shape(sum(source.channels // groups for source in sources), *_grid(sources[0]))


def _same_grid(section: Section, inputs: tuple[int, ...], sources: list[_Shape]) -> None:
    for index, source in zip(inputs, sources, strict=True):
        if _grid(source) != _grid(sources[0]):
            raise section.error(
                f"joins layer {inputs[0]} of {sources[0].width}x{sources[0].height} and layer {index} of "
                f"{source.width}x{source.height}; expected equal sizes"
            )


def _wrong_filters(cfg: Cfg, index: int, found: int, needed: int) -> Exception:
    head = next(head for head in cfg.heads if head.layer == index)
    sum_text = f"({head.classes} classes + 5) * {len(head.mask)} masks = {needed}"
    before = cfg.layers[index - 1] if index else cfg.net
    if before.kind != "convolutional":
        return cfg.layers[index].error(
            f"has {found} input channels from layer {index - 1}; expected {sum_text}"
        )
    return before.error(
        f"is layer {index - 1} with filters={found}, but the [yolo] on line {cfg.layers[index].line} needs "
        f"{sum_text}. Set filters={needed}",
        "filters",
    )


def _grid(shape: _Shape) -> tuple[int, int]:
    return shape.height, shape.width


def _size(section: Section) -> int:
    return _positive(section, "size", _strides(section)[0] if section.kind == "maxpool" else 1)


def _strides(section: Section) -> tuple[int, int]:
    both = _positive(section, "stride", 2 if section.kind == "upsample" else 1)
    return _positive(section, "stride_y", both), _positive(section, "stride_x", both)


def _padding(section: Section) -> int:
    if section.kind == "maxpool":
        return section.integer("padding", _size(section) - 1)
    return _size(section) // 2 if section.integer("pad", 0) else section.integer("padding", 0)


def _positive(section: Section, key: str, default: int) -> int:
    value = section.integer(key, default)
    if value < 1:
        raise section.error(f"has {key}={value}; expected 1 or more", key)
    return value
