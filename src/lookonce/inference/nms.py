"""Greedy non-maximum suppression, class by class, in float32 as Darknet computes it.

Plain IoU over few boxes is OpenCV's NMSBoxesBatched. It takes quadratic time and knows no distance term: many
boxes, and the kinds greedynms and diounms, are compared here, sorted along one axis, neighbours only.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from lookonce.darknet.cfg import DEFAULT_NMS, GREEDY_BETA, GREEDY_NMS, NMS_KINDS

# The best boxes are settled in blocks, each twice the one before: few at first, since those few
# usually strike out most of the others, and many when little overlaps.
_FIRST_BLOCK = 256
# OpenCV takes quadratic time: 1.5 times ours at 1,000 boxes, 9 times at 10,000.
_MOST_FOR_OPENCV = 500
# OpenCV takes boxes whose areas sum to less than a double's epsilon for identical ones.
_LEAST_AREA = 1e-12
# Neighbours compared with a stretch of the line at once; their matrices stay inside the processor's cache.
_TILE = 24
# Room for rounding where only a superset of the pairs is wanted.
_SLACK = 1e-4

_Floats = NDArray[np.float32]
_Ranks = NDArray[np.intp]


def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.int64],
    iou: float,
    kind: str = DEFAULT_NMS,
    beta: float = 0.6,
) -> NDArray[np.intp]:
    """Return the indices of the boxes that are kept, best score first; of equal scores, the first given.

    `boxes` (n, 4) xyxy in any unit, `scores` (n,), `classes` (n,). Of one class, a box that overlaps a
    better one by more than `iou` goes. `kind` says what overlap is: 'default' plain IoU (Darknet's
    do_nms_sort); 'greedynms' IoU - (d^2/c^2)^0.6 and 'diounms' IoU - (d^2/c^2)^beta (diounms_sort), where
    d is the distance of the centres and c the diagonal around both boxes. Darknet measures these on boxes
    as fractions of the image.
    """
    if kind not in NMS_KINDS:
        raise ValueError(f"the kind of NMS is {kind!r}; expected one of {NMS_KINDS}")
    exponent = None if kind == DEFAULT_NMS else GREEDY_BETA if kind == GREEDY_NMS else beta
    if exponent is None and 0 < len(boxes) <= _MOST_FOR_OPENCV and _suits_opencv(boxes):
        corners: Any = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1, dtype=np.float64)
        labels: Any = classes.astype(np.int32)
        kept = cv2.dnn.NMSBoxesBatched(corners, cast(Any, scores), labels, -np.inf, iou)
        return np.asarray(kept, np.intp)
    # Stable, so that equal scores keep the order of the heads on every platform.
    order = np.argsort(-scores, kind="stable")
    stays = np.ones(len(order), bool)
    ranked = _Ranked.of(boxes[order], classes[order], iou)
    line, size = ranked.line, _FIRST_BLOCK
    while len(line):
        block, rest = _split(line, size)
        better, worse = _pairs(ranked, block, block, iou, exponent)
        _strike_out(stays, better, worse)
        if len(rest):
            _, worse = _pairs(ranked, block[stays[block]], rest, iou, exponent)
            stays[worse] = False
            rest = rest[stays[rest]]
        line, size = rest, 2 * size
    return order[stays]


class _Sides(NamedTuple):
    """Boxes in columns, each float32 (n,)."""

    left: _Floats
    top: _Floats
    right: _Floats
    bottom: _Floats
    area: _Floats

    @classmethod
    def of(cls, boxes: _Floats) -> _Sides:
        left, top, right, bottom = np.ascontiguousarray(np.asarray(boxes, np.float32).T)
        return cls(left, top, right, bottom, (right - left) * (bottom - top))

    def take(self, indices: _Ranks) -> _Sides:
        return _Sides(*(column[indices] for column in self))


def _suits_opencv(boxes: _Floats) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return bool((np.isfinite(area) & (area > _LEAST_AREA)).all())


@dataclass(frozen=True)
class _Ranked:
    """Boxes in columns, best first, and a line along which boxes that may overlap are neighbours.

    The line leads through the classes, in each from left to right: `place` is where on it a box's centre
    is. A box overlaps by more than the threshold only others of its class within `reach` of it.
    `line` holds the ranks in the line's order, without boxes that aren't finite: they overlap nothing.
    """

    sides: _Sides
    classes: NDArray[np.int64]
    place: NDArray[np.float64]
    reach: NDArray[np.float64]
    line: _Ranks

    @classmethod
    def of(cls, boxes: _Floats, classes: NDArray[np.int64], iou: float) -> _Ranked:
        with np.errstate(over="ignore", invalid="ignore"):
            sides = _Sides.of(boxes)
        left, right, area = sides.left, sides.right, sides.area
        finite = np.isfinite(area)
        width = np.where(finite, right.astype(np.float64) - left, 0).clip(0)
        centre = np.where(finite, (left.astype(np.float64) + right) / 2, 0)
        # IoU > t needs a common width above t times the wider box's, so centres closer than half of both
        # widths less that; the second box is at most 1 / t times as wide as the first.
        widest = float(width.max(initial=0))
        factor = max(1 - iou, (1 - iou) / (2 * iou) if iou > 0 else np.inf)
        with np.errstate(invalid="ignore"):
            reach = np.fmin(factor * width, (1 - iou) * widest)
        reach = (1 + _SLACK) * reach + _SLACK * widest
        span = float(np.ptp(centre)) if len(centre) else 0.0
        _, lanes = np.unique(classes, return_inverse=True)
        place = centre + lanes * (span + 4 * widest)
        ranks = np.argsort(place)
        return cls(sides, classes, place, reach, ranks[finite[ranks]])


def _split(line: _Ranks, size: int) -> tuple[_Ranks, _Ranks]:
    """Return the `size` best and the others, both in the line's order."""
    if len(line) <= size:
        return line, line[:0]
    best = line < np.partition(line, size)[size]
    return line[best], line[~best]


def _pairs(
    ranked: _Ranked, first: _Ranks, second: _Ranks, iou: float, exponent: float | None
) -> tuple[_Ranks, _Ranks]:
    """Return the pairs of `first` and `second` with an overlap above `iou`, the better one first."""
    better, worse = _near(ranked, first, second, iou)
    right_way = (better < worse) & (ranked.classes[better] == ranked.classes[worse])
    better, worse = better[right_way], worse[right_way]
    above = _overlap(ranked.sides.take(better), ranked.sides.take(worse), exponent) > iou
    return better[above], worse[above]


def _strike_out(stays: NDArray[np.bool_], better: _Ranks, worse: _Ranks) -> None:
    """Let each kept box suppress the worse ones, the best first."""
    if not len(better):
        return
    turns = np.argsort(better, kind="stable")
    better, worse = better[turns], worse[turns]
    starts = np.flatnonzero(np.diff(better, prepend=-1))
    bounds = [*starts.tolist(), len(better)]
    for one, (start, end) in zip(better[starts].tolist(), pairwise(bounds), strict=True):
        # Whatever could strike it out is better still, so it had its turn before.
        if stays[one]:
            stays[worse[start:end]] = False


def _near(ranked: _Ranked, first: _Ranks, second: _Ranks, iou: float) -> tuple[_Ranks, _Ranks]:
    """Return all pairs with an IoU above `iou`, and some others: of other classes, or near the threshold."""
    starts = np.arange(0, len(first), _TILE)
    place, reach = ranked.place[first], ranked.reach[first]
    along = ranked.place[second]
    begins = np.searchsorted(along, np.minimum.reduceat(place - reach, starts)) if len(starts) else starts
    ends = np.searchsorted(along, np.maximum.reduceat(place + reach, starts)) if len(starts) else starts
    # IoU > t is the same as overlap > t / (1 + t) of both areas' sum.
    share = np.float32(iou / (1 + iou) * (1 - _SLACK))
    rows = [side[first][:, None] for side in ranked.sides[:4]]
    columns = [side[second] for side in ranked.sides[:4]]
    row_share, column_share = share * ranked.sides.area[first][:, None], share * ranked.sides.area[second]
    widest = int((ends - begins).max(initial=0))
    rooms = [np.empty(_TILE * widest, np.float32) for _ in range(3)]
    found: list[tuple[_Ranks, _Ranks]] = []
    for start, begin, end in zip(starts.tolist(), begins.tolist(), ends.tolist(), strict=True):
        if begin == end:
            continue
        tile, stretch = slice(start, start + _TILE), slice(begin, end)
        left, top, right, bottom = (side[tile] for side in rows)
        shape = (len(left), end - begin)
        wide, high, room = (one[: shape[0] * shape[1]].reshape(shape) for one in rooms)
        np.minimum(right, columns[2][stretch], out=wide)
        wide -= np.maximum(left, columns[0][stretch], out=room)
        np.maximum(wide, 0, out=wide)
        np.minimum(bottom, columns[3][stretch], out=high)
        high -= np.maximum(top, columns[1][stretch], out=room)
        wide *= high
        np.add(row_share[tile], column_share[stretch], out=room)
        hits = np.flatnonzero(wide > room)
        row, column = np.divmod(hits, shape[1])
        found.append((first[start + row], second[begin + column]))
    if not found:
        return first[:0], second[:0]
    better, worse = zip(*found, strict=True)
    return np.concatenate(better), np.concatenate(worse)


def _overlap(first: _Sides, second: _Sides, exponent: float | None) -> _Floats:
    """Return the overlap of each pair; bit for bit as `lookonce.core.boxes.iou_matrix`."""
    wide = np.minimum(first.right, second.right) - np.maximum(first.left, second.left)
    high = np.minimum(first.bottom, second.bottom) - np.maximum(first.top, second.top)
    common = wide.clip(0) * high.clip(0)
    union = first.area + second.area - common
    tiny = np.finfo(np.float32).tiny
    iou: _Floats = common / np.maximum(union, tiny)
    if exponent is None:
        return iou
    # Squared diagonal of the box around both, and squared distance of the centres.
    around_wide = np.maximum(first.right, second.right) - np.minimum(first.left, second.left)
    around_high = np.maximum(first.bottom, second.bottom) - np.minimum(first.top, second.top)
    apart_x = (first.left + first.right - second.left - second.right) / 2
    apart_y = (first.top + first.bottom - second.top - second.bottom) / 2
    diagonal = np.maximum(around_wide**2 + around_high**2, tiny)
    return iou - ((apart_x**2 + apart_y**2) / diagonal) ** np.float32(exponent)
