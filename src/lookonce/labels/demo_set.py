"""A small generated dataset of bolts, nuts and washers, in the form of VoTT's Pascal VOC export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

CLASSES = ("bolt", "nut", "washer")
TRAINING, HELD_OUT = "parts", "unseen"
WIDTH, HEIGHT = 320, 240
HELD_OUT_IMAGES = 12

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]

# Side of the square on which a sprite is drawn upright; shrinking it then antialiases every edge.
_SIDE = 256
_METALS = ((176, 180, 184), (150, 154, 160), (205, 204, 198), (196, 160, 88), (176, 112, 76), (92, 92, 98))
_GROUNDS = ((150, 112, 74), (120, 86, 58), (92, 104, 112), (178, 176, 168), (66, 92, 84), (190, 170, 140))
_LIGHT = np.asarray([-0.6, -0.8], np.float32)


@dataclass(frozen=True)
class _Labelled:
    name: str
    box: Box


def make_demo_set(folder: str | Path, images: int = 60, seed: int = 0) -> Path:
    """Draw `images` scenes of bolts, nuts and washers (320x240), and a held-out set of 12 more.

    Args:
        folder: where both sets are written, as VoTT exports; existing files of the same names are replaced.
        images: number of images in the first set.
        seed: equal seeds give equal images and boxes.

    Returns:
        The folder of the first set; `held_out_set` gives the other.
    """
    root = Path(folder)
    for index, (name, count) in enumerate(((TRAINING, images), (HELD_OUT, HELD_OUT_IMAGES))):
        rng = np.random.default_rng((seed, index))
        scenes = [draw_scene(rng) for _ in range(count)]
        _write_export(root / f"{name}-PascalVOC-export", name, scenes)
    return root / f"{TRAINING}-PascalVOC-export"


def held_out_set(training: Path) -> Path:
    """Return the held-out set beside the one that `make_demo_set` returned."""
    return training.with_name(f"{HELD_OUT}-PascalVOC-export")


def draw_scene(rng: np.random.Generator) -> tuple[Pixels, list[_Labelled]]:
    """Draw one image, RGB (240, 320, 3); return it with its labels."""
    image = _ground(rng)
    for _ in range(rng.integers(0, 4)):
        _paste(image, _scrap(rng), rng, rng.uniform(30, 70), _anywhere(rng, 0.0), bevel=0.15)
    labelled: list[_Labelled] = []
    covered = np.zeros((HEIGHT, WIDTH), bool)
    for _ in range(rng.integers(3, 8)):
        name = CLASSES[rng.integers(len(CLASSES))]
        sprite = _SPRITES[name](rng)
        side = rng.uniform(76, 125) if name == "bolt" else rng.uniform(44, 76)
        for _ in range(20):
            centre = _anywhere(rng, side * 0.36)
            radius = int(side * 0.36)
            window = covered[max(0, centre[1] - radius) : centre[1] + radius, max(0, centre[0] - radius) :]
            # A little overlap is realistic; one part hiding another is not.
            if window[:, : 2 * radius].mean() < 0.06:
                break
        else:
            continue
        mask = _paste(image, sprite, rng, side, centre, bevel=0.75)
        covered |= mask
        labelled.append(_Labelled(name, _tight_box(mask, rng)))
    return _photograph(image, rng), labelled


def _anywhere(rng: np.random.Generator, margin: float) -> tuple[int, int]:
    return int(rng.uniform(margin, WIDTH - margin)), int(rng.uniform(margin, HEIGHT - margin))


def _tight_box(mask: NDArray[np.bool_], rng: np.random.Generator) -> Box:
    """Return the mask's edges, each off by a fraction of a pixel, as if set by hand."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    edges = np.asarray([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) + rng.uniform(-0.4, 0.4, 4)
    left, top, right, bottom = np.clip(edges, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    return float(left), float(top), float(right), float(bottom)


def _noise(rng: np.random.Generator, cells_x: int, cells_y: int) -> Floats:
    """Return smooth noise over the image, about -1..1, with that many cells across and down."""
    cells = rng.normal(0, 0.5, (max(2, cells_y), max(2, cells_x))).astype(np.float32)
    return np.asarray(cv2.resize(cells, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.float32)


def _ground(rng: np.random.Generator) -> Floats:
    """Draw a table top: wood grain, brushed metal, cloth or card, under uneven light."""
    colour = np.asarray(_GROUNDS[rng.integers(len(_GROUNDS))], np.float32) * rng.uniform(0.8, 1.15)
    kind = rng.integers(3)
    if kind == 0:
        bend = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None] * rng.uniform(6, 14) + 0.9 * _noise(
            rng, 3, 4
        )
        pattern = 7 * np.sin(2 * np.pi * bend) + 9 * _noise(rng, 6, 120)
    elif kind == 1:
        across, down = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
        step = rng.uniform(0.9, 1.4)
        pattern = 5 * np.sin(across * step) * np.sin(down * step) + 5 * _noise(rng, 20, 16)
    else:
        pattern = 8 * _noise(rng, 90, 70) + 8 * _noise(rng, 6, 5)
    shaded = colour + np.asarray(pattern, np.float32)[..., None]
    return np.asarray(shaded * (1 + 0.22 * _noise(rng, 2, 2))[..., None], np.float32)


def _canvas() -> tuple[Floats, Floats]:
    """Return brightness 1 and opacity 0, both (256, 256)."""
    return np.ones((_SIDE, _SIDE), np.float32), np.zeros((_SIDE, _SIDE), np.float32)


def _metal(rng: np.random.Generator, tone: Floats, alpha: Floats) -> Floats:
    """Colour brightness and opacity as a sprite (256, 256, 4): RGB 0..255 and opacity 0..1."""
    colour = np.asarray(_METALS[rng.integers(len(_METALS))], np.float32) * rng.uniform(0.85, 1.1)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (_SIDE, _SIDE)).astype(np.float32), (0, 0), 12, sigmaY=1.5)
    grain = grain * np.float32(0.05 / max(float(grain.std()), 1e-6))
    return np.dstack([colour * (tone + grain)[..., None], alpha]).astype(np.float32)


def _hexagon(radius: float, turn: float = 0.0) -> NDArray[np.int32]:
    angles = np.arange(6) * np.pi / 3 + turn
    corners = _SIDE / 2 + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return corners.round().astype(np.int32)


def _washer(rng: np.random.Generator) -> Floats:
    tone, alpha = _canvas()
    centre, outer = (_SIDE // 2, _SIDE // 2), 92
    cv2.circle(alpha, centre, outer, 1.0, -1)
    cv2.circle(alpha, centre, int(outer * rng.uniform(0.42, 0.62)), 0.0, -1)
    return _metal(rng, tone, alpha)


def _nut(rng: np.random.Generator) -> Floats:
    tone, alpha = _canvas()
    centre, bore = (_SIDE // 2, _SIDE // 2), int(96 * rng.uniform(0.42, 0.54))
    cv2.fillConvexPoly(alpha, _hexagon(96), 1.0)
    # The chamfer: a bright disc within the corners, then the thread's dark rings around the bore.
    tone[:] = 0.8
    cv2.circle(tone, centre, 82, 1.06, -1)
    for ring, shade in ((14, 0.62), (10, 0.9), (6, 0.5)):
        cv2.circle(tone, centre, bore + ring, shade, 4)
    cv2.circle(alpha, centre, bore, 0.0, -1)
    return _metal(rng, tone, alpha)


def _bolt(rng: np.random.Generator) -> Floats:
    """Draw a bolt from the side: hexagonal head, plain shank, thread down to a chamfered tip."""
    tone, alpha = _canvas()
    middle, half = _SIDE // 2, int(rng.uniform(15, 21))
    head_half, head_end = int(half * rng.uniform(1.7, 2.0)), 56
    tip = int(rng.uniform(205, 242))
    thread = int(head_end + (tip - head_end) * rng.uniform(0.05, 0.4))
    cv2.rectangle(alpha, (20, middle - head_half), (head_end, middle + head_half), 1.0, -1)
    shaft = [(head_end, middle - half), (tip - 10, middle - half), (tip, middle - half + 8)]
    shaft += [(x, 2 * middle - y) for x, y in reversed(shaft)]
    cv2.fillPoly(alpha, [np.asarray(shaft, np.int32)], 1.0)
    tone[:, head_end:] = 0.92
    tone[middle - half : middle - half // 2, head_end:] = 1.12
    for x in range(thread, tip, 9):
        cv2.line(tone, (x, middle - half), (x + 4, middle + half), 0.5, 3)
    tone[middle - head_half : middle - head_half // 2, :head_end] = 0.75
    tone[middle + head_half // 2 : middle + head_half + 1, :head_end] = 0.66
    tone[:, head_end - 4 : head_end] *= 0.7
    return _metal(rng, tone, alpha)


def _scrap(rng: np.random.Generator) -> Floats:
    """Draw a distractor: a leaf, a scrap of paper, or a stick, in any colour."""
    sprite = np.zeros((_SIDE, _SIDE, 4), np.float32)
    alpha = np.zeros((_SIDE, _SIDE), np.float32)
    kind, centre = rng.integers(3), (_SIDE // 2, _SIDE // 2)
    if kind == 0:
        cv2.ellipse(alpha, centre, (100, int(rng.uniform(28, 50))), 0, 0, 360, 1.0, -1)
        colour = (70 + 50 * rng.random(), 120 + 50 * rng.random(), 60.0)
    elif kind == 1:
        angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
        corners = 128 + rng.uniform(60, 105, (7, 1)) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(alpha, [corners.astype(np.int32)], 1.0)
        colour = tuple(rng.uniform(150, 245, 3))
    else:
        cv2.rectangle(alpha, (16, 116), (240, 140), 1.0, -1)
        colour = tuple(rng.uniform(60, 210, 3))
    sprite[..., :3] = np.asarray(colour, np.float32)
    if kind == 0:
        cv2.line(sprite, (30, 128), (226, 128), (60.0, 92.0, 48.0, 0.0), 4)
    sprite[..., 3] = alpha
    return sprite


_SPRITES = {"bolt": _bolt, "nut": _nut, "washer": _washer}


def _paste(
    image: Floats,
    sprite: Floats,
    rng: np.random.Generator,
    side: float,
    centre: tuple[int, int],
    bevel: float,
) -> NDArray[np.bool_]:
    """Rotate, squash, shrink and light a sprite; paste it with its shadow; return its mask."""
    turn = cv2.getRotationMatrix2D((_SIDE / 2, _SIDE / 2), rng.uniform(0, 360), 1.0)
    sprite = np.asarray(cv2.warpAffine(sprite, turn, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR), np.float32)
    # Lit after rotation: the light has one direction, the parts have any.
    heights = cv2.GaussianBlur(sprite[..., 3], (0, 0), 6)
    slope = _LIGHT[0] * cv2.Sobel(heights, -1, 1, 0) + _LIGHT[1] * cv2.Sobel(heights, -1, 0, 1)
    sprite[..., :3] *= np.clip(1 - bevel * slope, 0.3, 1.8)[..., None]
    size = (max(8, int(side * rng.uniform(0.92, 1.0))), max(8, int(side * rng.uniform(0.92, 1.0))))
    small = np.asarray(cv2.resize(sprite, size, interpolation=cv2.INTER_AREA), np.float32)

    whole = np.zeros((HEIGHT, WIDTH, 4), np.float32)
    left, top = centre[0] - size[0] // 2, centre[1] - size[1] // 2
    right, bottom = min(WIDTH, left + size[0]), min(HEIGHT, top + size[1])
    inside = (slice(max(0, top), bottom), slice(max(0, left), right))
    whole[inside] = small[max(0, -top) : bottom - top, max(0, -left) : right - left]
    alpha = whole[..., 3]
    reach = rng.uniform(2, 5)
    shift = np.asarray([[1, 0, reach], [0, 1, reach * 1.2]], np.float32)
    shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, shift, (WIDTH, HEIGHT)), (0, 0), 2.5)
    image *= (1 - 0.5 * shadow)[..., None]
    image += alpha[..., None] * (whole[..., :3] - image)
    return np.asarray(alpha > 0.5)


def _photograph(image: Floats, rng: np.random.Generator) -> Pixels:
    """Apply exposure, a slight blur and sensor noise."""
    exposed = cv2.GaussianBlur(image * rng.uniform(0.8, 1.15), (0, 0), rng.uniform(0.3, 0.8))
    noisy = exposed + rng.normal(0, rng.uniform(1.5, 5), image.shape)
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def _write_export(folder: Path, name: str, scenes: Sequence[tuple[Pixels, list[_Labelled]]]) -> None:
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    files = [f"{name}_{number:03d}.jpg" for number in range(1, len(scenes) + 1)]
    for file, (image, labelled) in zip(files, scenes, strict=True):
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        (folder / "JPEGImages" / file).write_bytes(jpeg.tobytes())
        text = _annotation(folder.name, file, labelled)
        (folder / "Annotations" / file).with_suffix(".xml").write_text(text, encoding="utf-8", newline="\n")
    # VoTT validates on the first fifth, and lists every image for every tag, with 1 where the tag is in it.
    first = len(files) // 5
    for tag in CLASSES:
        lines = [
            f"{file} {1 if any(one.name == tag for one in labelled) else -1}"
            for file, (_, labelled) in zip(files, scenes, strict=True)
        ]
        for split, chosen in (("val", lines[:first]), ("train", lines[first:])):
            path = folder / "ImageSets" / "Main" / f"{tag}_{split}.txt"
            path.write_text("\n".join(chosen), encoding="utf-8", newline="\n")
    items = [f"item {{\n id: {number}\n name: '{tag}'\n}}\n" for number, tag in enumerate(CLASSES, 1)]
    (folder / "pascal_label_map.pbtxt").write_text("".join(items), encoding="utf-8", newline="\n")


def _annotation(export: str, file: str, labelled: Sequence[_Labelled]) -> str:
    xml = file.removesuffix(".jpg") + ".xml"
    objects = "".join(
        f"<object>\n    <name>{one.name}</name>\n    <pose>Unspecified</pose>\n    <truncated>0</truncated>\n"
        "    <difficult>0</difficult>\n    <bndbox>\n"
        + "".join(
            f"        <{edge}>{value!r}</{edge}>\n"
            for edge, value in zip(("xmin", "ymin", "xmax", "ymax"), one.box, strict=True)
        )
        + "    </bndbox>\n</object>"
        for one in labelled
    )
    return (
        f'<annotation verified="yes">\n    <folder>Annotation</folder>\n    <filename>{file}</filename>\n'
        f"    <path>{export}/Annotations/{xml}</path>\n"
        "    <source>\n        <database>Unknown</database>\n    </source>\n"
        f"    <size>\n        <width>{WIDTH}</width>\n        <height>{HEIGHT}</height>\n"
        f"        <depth>3</depth>\n    </size>\n    <segmented>0</segmented>\n    {objects}\n</annotation>\n"
    )
