"""Known networks for any classes, anchors and size; and customisation of any cfg."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookonce.darknet import architectures
from lookonce.darknet.cfg import Cfg, parse_cfg
from lookonce.darknet.layers import layer_strides, plan
from lookonce.errors import LookonceError

Masks = Sequence[Sequence[int]]

_V3_HEAD = {"jitter": ".3", "ignore_thresh": ".7", "truth_thresh": "1", "random": "1"}
_V4_HEAD = {
    **_V3_HEAD,
    "cls_normalizer": "1.0",
    "iou_normalizer": "0.07",
    "iou_loss": "ciou",
    "nms_kind": "greedynms",
    "beta_nms": "0.6",
}
_V4_TINY_HEAD = {**_V4_HEAD, "scale_x_y": "1.05", "random": "0", "resize": "1.5"}
_V4_FULL_HEAD = {**_V4_HEAD, "iou_thresh": "0.213", "max_delta": "5"}
_NET = (
    "channels=3\nmomentum={momentum}\ndecay=0.0005\nangle=0\nsaturation=1.5\nexposure=1.5\nhue=.1\n"
    "learning_rate={rate}\nburn_in=1000\nmax_batches=500200\npolicy=steps\nsteps=400000,450000\nscales=.1,.1\n"
)
_V3_NET = _NET.format(momentum=0.9, rate=0.001)
_V4_TINY_NET = _NET.format(momentum=0.9, rate=0.00261)
_V4_NET = _NET.format(momentum=0.949, rate=0.0013) + "mosaic=1\n"

# Alternating width and height, in network-input pixels.
_COCO_9 = (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326)
_COCO_6 = (10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319)
_COCO_V4 = (12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401)


@dataclass(frozen=True)
class _Recipe:
    write: Callable[[architectures.Writer], None]
    anchors: tuple[int, ...]
    published_size: int
    published_masks: tuple[tuple[int, ...], ...]
    head_options: Mapping[str, str]
    net: str
    fine_head_first: bool = False


_NINE = ((6, 7, 8), (3, 4, 5), (0, 1, 2))
_SIX = ((3, 4, 5), (0, 1, 2))
_RECIPES: dict[str, _Recipe] = {
    "yolov3": _Recipe(architectures.yolov3, _COCO_9, 608, _NINE, _V3_HEAD, _V3_NET),
    "yolov3-tiny": _Recipe(architectures.yolov3_tiny, _COCO_6, 416, _SIX, _V3_HEAD, _V3_NET),
    "yolov3-spp": _Recipe(architectures.yolov3_spp, _COCO_9, 608, _NINE, _V3_HEAD, _V3_NET),
    "yolov4": _Recipe(architectures.yolov4, _COCO_V4, 608, _NINE[::-1], _V4_FULL_HEAD, _V4_NET, True),
    "yolov4-tiny": _Recipe(
        architectures.yolov4_tiny, _COCO_6, 416, ((3, 4, 5), (1, 2, 3)), _V4_TINY_HEAD, _V4_TINY_NET
    ),
    "yolov4-tiny-3l": _Recipe(
        architectures.yolov4_tiny_3l, _COCO_V4, 608, _NINE, _V4_TINY_HEAD, _V4_TINY_NET
    ),
}
NAMES = tuple(_RECIPES)


def generate(
    name: str,
    classes: int,
    anchors: ArrayLike | None = None,
    input_size: tuple[int, int] = (416, 416),
    masks: Masks | None = None,
) -> Cfg:
    """Generate the cfg of a known network for training.

    Args:
        name: one of NAMES.
        classes: number of classes.
        anchors: (n, 2) widths and heights in network-input pixels, at least one per head; None takes the
            published COCO anchors.
        input_size: (height, width) in pixels.
        masks: anchor indices per head, in the order of the cfg; None sorts the anchors by area and assigns
            each to exactly one head, the large ones to the coarse head.

    Raises:
        LookonceError: unknown name, or anchors that do not fit the heads.

    Example:
        >>> cfg = generate("yolov3-tiny", classes=3, input_size=(320, 416))
        >>> cfg.input_size, [head.mask for head in cfg.heads]
        ((320, 416), [(3, 4, 5), (0, 1, 2)])
    """
    recipe = _recipe(name)
    sizes = _sizes(recipe.anchors if anchors is None else anchors)
    if masks is None:
        sizes = _by_area(sizes)
        fine_to_coarse = spread(len(sizes), len(recipe.published_masks))
        masks = fine_to_coarse if recipe.fine_head_first else fine_to_coarse[::-1]
    if len(masks) != len(recipe.published_masks):
        raise LookonceError(
            f"{name} has {len(recipe.published_masks)} heads, but {len(masks)} masks were given."
        )
    if classes < 1:
        raise LookonceError(f"{name} requested with {classes} classes; expected 1 or more.")
    writer = architectures.Writer(
        classes, _text(sizes), len(sizes), [tuple(mask) for mask in masks], dict(recipe.head_options)
    )
    recipe.write(writer)
    top = f"# {name}, {classes} classes\n[net]\nbatch=64\nsubdivisions=16\n"
    top += f"width={input_size[1]}\nheight={input_size[0]}\n{recipe.net}"
    cfg = parse_cfg("\n".join([top, *writer.sections]), f"{name}.cfg")
    plan(cfg)
    return cfg


def published(name: str, classes: int = 80) -> Cfg:
    """Return the cfg of a published weights file: 80 COCO classes (20 for VOC), its anchors and masks.

    yolov3-tiny follows the current cfg file, masks 3,4,5 and 0,1,2; the weights on pjreddie.com were
    trained with 1,2,3 on the fine head, so to *detect* with them unchanged use
    `generate("yolov3-tiny", 80, masks=((3, 4, 5), (1, 2, 3)))`. Raises LookonceError for an unknown name.
    """
    recipe = _recipe(name)
    side = recipe.published_size
    return generate(
        name, classes, input_size=(side, side), masks=recipe.published_masks, anchors=recipe.anchors
    )


def customise(
    cfg: Cfg,
    classes: int,
    anchors: ArrayLike | None = None,
    input_size: tuple[int, int] | None = None,
) -> Cfg:
    """Return a cfg changed for other classes, anchors and input size; everything else is kept.

    Args:
        cfg: the cfg to change.
        classes: number of classes.
        anchors: (n, 2) widths and heights, assigned to heads as in `generate`; None keeps anchors and masks.
        input_size: (height, width) in pixels; None keeps it.

    Raises:
        LookonceError: invalid classes, anchors or cfg.
    """
    if classes < 1:
        raise LookonceError(f"{cfg.source}: requested with {classes} classes; expected 1 or more.")
    heads, strides = cfg.heads, layer_strides(cfg)
    if not heads:
        raise LookonceError(f"{cfg.source}: has no [yolo] layer, so it is no detector.")
    changes: dict[int | Literal["net"], dict[str, str]] = {}
    if input_size is not None:
        changes["net"] = {"width": str(input_size[1]), "height": str(input_size[0])}
    masks = {head.layer: head.mask for head in heads}
    shared = {"classes": str(classes)}
    if anchors is not None:
        sizes = _by_area(_sizes(anchors))
        fine_to_coarse = sorted(masks, key=lambda layer: strides[layer])
        masks = dict(zip(fine_to_coarse, spread(len(sizes), len(heads)), strict=True))
        shared |= {"num": str(len(sizes)), "anchors": _text(sizes)}
    for layer, mask in masks.items():
        before = cfg.layers[layer - 1] if layer else cfg.net
        if before.kind != "convolutional":
            raise cfg.layers[layer].error(f"follows a [{before.kind}]; expected a [convolutional]")
        changes[layer] = {**shared, "mask": ",".join(map(str, mask))}
        changes[layer - 1] = {"filters": str((classes + 5) * len(mask))}
    changed = cfg.replace(changes)
    plan(changed)
    return changed


def spread(count: int, heads: int) -> tuple[tuple[int, ...], ...]:
    """Return masks, fine to coarse, that assign each of `count` anchors, sorted by area, to one of `heads`.

    A remainder goes to the coarser heads, one each. Raises LookonceError for fewer anchors than heads.
    """
    if count < heads:
        raise LookonceError(f"{count} anchors are too few for {heads} heads; use at least {heads}.")
    each, rest = divmod(count, heads)
    masks: list[tuple[int, ...]] = []
    start = 0
    for head in range(heads):
        end = start + each + (head >= heads - rest)
        masks.append(tuple(range(start, end)))
        start = end
    return tuple(masks)


def _recipe(name: str) -> _Recipe:
    if name not in _RECIPES:
        raise LookonceError(
            f"{name!r} is not a known network; expected one of {', '.join(NAMES)}, or a .cfg file."
        )
    return _RECIPES[name]


def _sizes(anchors: ArrayLike) -> NDArray[np.float64]:
    sizes = np.asarray(anchors, np.float64)
    sizes = sizes.reshape(-1, 2) if sizes.ndim == 1 and sizes.size % 2 == 0 else sizes
    if sizes.ndim != 2 or sizes.shape[1] != 2 or not np.isfinite(sizes).all() or not (sizes > 0).all():
        raise LookonceError(
            f"anchors of shape {sizes.shape} are invalid; "
            "expected pairs of positive width and height in pixels."
        )
    return sizes


def _by_area(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    return sizes[np.argsort(sizes.prod(axis=1), kind="stable")]


def _text(sizes: NDArray[np.float64]) -> str:
    return ",  ".join(f"{width:.6g},{height:.6g}" for width, height in sizes)
