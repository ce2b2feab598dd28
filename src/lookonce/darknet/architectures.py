"""Networks of the YOLO family: each function writes one network's layers, in Darknet's order.

YOLOv3 (Redmon and Farhadi 2018, arXiv 1804.02767), YOLOv4 (Bochkovskiy et al. 2020, arXiv 2004.10934),
scaled tiny variants (Wang et al. 2021, arXiv 2011.08036).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Writer:
    """Collects cfg sections; each method appends one block and returns the index of its last layer.

    `masks` holds one tuple per head, in the order of the heads in the cfg.
    """

    classes: int
    anchors: str
    num: int
    masks: Sequence[tuple[int, ...]]
    head_options: dict[str, str]
    sections: list[str] = field(default_factory=list)
    heads: int = 0

    def section(self, kind: str, **options: object) -> int:
        """Append a section."""
        body = "\n".join(f"{key}={value}" for key, value in options.items())
        self.sections.append(f"[{kind}]\n{body}\n")
        return len(self.sections) - 1

    def conv(self, filters: int, size: int, stride: int = 1, activation: str = "leaky") -> int:
        """Append a convolution with batch norm, padded by size // 2."""
        options = {"filters": filters, "size": size, "stride": stride, "pad": 1, "activation": activation}
        return self.section("convolutional", batch_normalize=1, **options)

    def convs(self, *filters: int) -> int:
        """Append alternating 1x1 and 3x3 convolutions."""
        for position, count in enumerate(filters):
            self.conv(count, 3 if position % 2 else 1)
        return len(self.sections) - 1

    def route(self, *layers: int) -> int:
        """Append a concatenation of earlier layers."""
        return self.section("route", layers=",".join(map(str, layers)))

    def residuals(self, count: int, narrow: int, wide: int, activation: str = "leaky") -> int:
        """Append `count` residual blocks: 1x1, 3x3, add the input."""
        for _ in range(count):
            self.conv(narrow, 1, activation=activation)
            self.conv(wide, 3, activation=activation)
            self.section("shortcut", **{"from": -3, "activation": "linear"})
        return len(self.sections) - 1

    def pyramid_pools(self) -> int:
        """Append spatial pyramid pooling: the input with its 5, 9 and 13 wide maxima."""
        self.section("maxpool", stride=1, size=5)
        self.route(-2)
        self.section("maxpool", stride=1, size=9)
        self.route(-4)
        self.section("maxpool", stride=1, size=13)
        return self.route(-1, -3, -5, -6)

    def upsample(self, filters: int) -> int:
        """Append a 1x1 convolution and an upsampling by two."""
        self.conv(filters, 1)
        return self.section("upsample", stride=2)

    def head(self, **options: object) -> int:
        """Append the output convolution and its `[yolo]`."""
        mask = self.masks[self.heads]
        self.heads += 1
        filters = (self.classes + 5) * len(mask)
        self.section("convolutional", size=1, stride=1, pad=1, filters=filters, activation="linear")
        shared = {"anchors": self.anchors, "classes": self.classes, "num": self.num}
        return self.section(
            "yolo", mask=",".join(map(str, mask)), **shared, **{**self.head_options, **options}
        )


def _darknet53(net: Writer) -> tuple[int, int]:
    """Write the backbone; return the layers at stride 16 and 8."""
    net.conv(32, 3)
    ends = []
    for count, filters in ((1, 64), (2, 128), (8, 256), (8, 512), (4, 1024)):
        net.conv(filters, 3, stride=2)
        ends.append(net.residuals(count, filters // 2, filters))
    return ends[3], ends[2]


def _yolov3(net: Writer, pyramid: bool) -> None:
    middle, fine = _darknet53(net)
    net.convs(512, 1024, 512)
    if pyramid:
        net.pyramid_pools()
        net.convs(512, 1024, 512, 1024)
    else:
        net.conv(1024, 3)
        net.convs(512, 1024)
    net.head()
    for filters, lateral in ((256, middle), (128, fine)):
        net.route(-4)
        net.upsample(filters)
        net.route(-1, lateral)
        net.convs(*(filters, 2 * filters) * 3)
        net.head()


def yolov3(net: Writer) -> None:
    """Write Darknet-53 with three heads, coarse to fine."""
    _yolov3(net, pyramid=False)


def yolov3_spp(net: Writer) -> None:
    """Write yolov3 with spatial pyramid pooling before the coarse head."""
    _yolov3(net, pyramid=True)


def yolov3_tiny(net: Writer) -> None:
    """Write seven convolutions and pools with two heads, coarse to fine."""
    for filters in (16, 32, 64, 128):
        net.conv(filters, 3)
        net.section("maxpool", size=2, stride=2)
    lateral = net.conv(256, 3)
    net.section("maxpool", size=2, stride=2)
    net.conv(512, 3)
    net.section("maxpool", size=2, stride=1)
    net.conv(1024, 3)
    net.convs(256, 512)
    net.head()
    net.route(-4)
    net.upsample(128)
    net.route(-1, lateral)
    net.conv(256, 3)
    net.head()


def _csp_tiny(net: Writer) -> list[int]:
    """Write yolov4-tiny's backbone; return the lateral layers at stride 4, 8, 16."""
    net.conv(32, 3, stride=2)
    net.conv(64, 3, stride=2)
    laterals = []
    for filters in (64, 128, 256):
        net.conv(filters, 3)
        net.section("route", layers=-1, groups=2, group_id=1)
        net.conv(filters // 2, 3)
        net.conv(filters // 2, 3)
        net.route(-1, -2)
        laterals.append(net.conv(filters, 1))
        net.route(-6, -1)
        net.section("maxpool", size=2, stride=2)
    net.conv(512, 3)
    return laterals


def _yolov4_tiny(net: Writer) -> list[int]:
    laterals = _csp_tiny(net)
    net.convs(256, 512)
    net.head()
    net.route(-4)
    net.upsample(128)
    net.route(-1, laterals[2])
    net.conv(256, 3)
    net.head()
    return laterals


def yolov4_tiny(net: Writer) -> None:
    """Write a small cross-stage-partial backbone with two heads, coarse to fine."""
    _yolov4_tiny(net)


def yolov4_tiny_3l(net: Writer) -> None:
    """Write yolov4-tiny with a third head on the stride-8 grid."""
    laterals = _yolov4_tiny(net)
    net.route(-3)
    net.upsample(64)
    net.route(-1, laterals[1])
    net.conv(128, 3)
    net.head()


def _csp_stage(net: Writer, filters: int, count: int) -> int:
    """Halve the grid; half of the channels pass `count` residual blocks, the other half bypass them."""
    first = count == 1
    half = filters if first else filters // 2
    net.conv(filters, 3, stride=2, activation="mish")
    around = net.conv(half, 1, activation="mish")
    net.route(-2)
    net.conv(half, 1, activation="mish")
    net.residuals(count, half // 2 if first else half, half, activation="mish")
    through = net.conv(half, 1, activation="mish")
    net.route(-1, around - through - 1)
    return net.conv(filters, 1, activation="mish")


def yolov4(net: Writer) -> None:
    """Write CSPDarknet-53, pyramid pooling, a path up and a path down, and three heads, fine to coarse."""
    net.conv(32, 3, activation="mish")
    stages = [_csp_stage(net, *stage) for stage in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))]
    net.convs(512, 1024, 512)
    net.pyramid_pools()
    up = [net.convs(512, 1024, 512)]
    for filters, lateral in ((256, stages[3]), (128, stages[2])):
        net.upsample(filters)
        net.route(lateral)
        net.conv(filters, 1)
        net.route(-1, -3)
        up.append(net.convs(filters, 2 * filters, filters, 2 * filters, filters))
    net.conv(256, 3)
    net.head(scale_x_y=1.2)
    for filters, lateral, scale in ((256, up[1], 1.1), (512, up[0], 1.05)):
        net.route(-4)
        at = net.conv(filters, 3, stride=2)
        net.route(-1, lateral - at - 1)
        net.convs(*(filters, 2 * filters) * 3)
        net.head(scale_x_y=scale)
