"""`lookonce detect`: find objects in images and video, draw them, and write them as JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.cli import detect_ray
from lookonce.cli.detect_video import add_video_arguments, is_video, refuse_video_flags, run_video
from lookonce.cli.model_arguments import add_model_arguments, open_detector
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from lookonce.core.detections import Detections
    from lookonce.inference import Seen

# For more images than these, more a second count for more than the first one's answer.
_FEW = 4
# Drawing and JPEG's arithmetic leave the interpreter's lock for most of their time.
_DRAWERS = 2

# What Pillow writes as well as it reads; an image of another format is drawn on a JPEG.
_WRITTEN = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_EXAMPLES = """examples:
  lookonce detect outputs/model.keras photo.jpg
  lookonce detect model.onnx photos/ --output drawn/ --json found.json
  lookonce detect yolov3-tiny.cfg "photos/*.png" --weights yolov3-tiny.weights --classes coco.names
  lookonce detect model.onnx street.mp4 --track --output drawn.mp4 --json found.jsonl
  lookonce detect model.onnx az://images/2026 --engine ray --output az://found/2026
  lookonce detect model.onnx rtsp://camera.local/stream --show --seconds 60
"""


def add_parser(commands: Any) -> None:
    """Add `detect` to the command line."""
    parser = commands.add_parser(
        "detect",
        help="find objects in images and video",
        description="Find objects in images and video; draw them on copies, and write them as JSON.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser, more_engines=("ray",))
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="an image, a folder of them, a quoted pattern, a video file, a camera's index, or an address",
    )
    parser.add_argument("--conf", type=float, default=0.3, help="lowest score (default %(default)s)")
    parser.add_argument(
        "--output",
        metavar="FILE|DIR",
        default="detections",
        help="drawn copies, video as .mp4 or .mov (default %(default)s/), or none",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write what was found: a JSON array, of video a JSON object a line"
    )
    parser.add_argument("--batch", type=int, default=8, help="images at a time (default %(default)s)")
    add_video_arguments(parser)
    detect_ray.add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Detect, draw and write; 1 when any image could not be read."""
    if arguments.engine == "ray":
        return detect_ray.run(arguments)
    detect_ray.refuse_flags(arguments)
    if is_video(arguments.source):
        return run_video(arguments)
    refuse_video_flags(arguments)
    from lookonce.io.images import ImageError, list_images

    images = list_images(arguments.source)
    draws = arguments.output != "none"
    targets = _targets(images, Path(arguments.output)) if draws else {}
    from lookonce.io.atomic import write_text

    detector = open_detector(arguments, arguments.conf, many=len(images) > _FEW)
    print(f"{detector.card.name}: {detector.engine.name}")
    root = _common_folder(images)
    answers: list[dict[str, Any]] = []
    failed = 0
    with ThreadPoolExecutor(_DRAWERS) as drawers:
        drawings: deque[Future[None]] = deque()
        for seen in detector.look_through(images, arguments.batch):
            if isinstance(seen.answer, ImageError):
                failed += 1
                print(f"lookonce: {seen.answer}", file=sys.stderr)
                continue
            name = seen.source.relative_to(root).as_posix()
            answers.append(seen.answer.to_dict(name))
            print(f"{name}: {_in_words(seen.answer)}")
            if draws:
                drawings.append(drawers.submit(_write_drawn, seen, targets[seen.source]))
            while len(drawings) > 2 * arguments.batch:
                drawings.popleft().result()
        for drawing in drawings:
            drawing.result()
    if arguments.json:
        write_text(Path(arguments.json), json.dumps(answers, indent=1, ensure_ascii=False) + "\n")
    objects = sum(len(answer["boxes"]) for answer in answers)
    drawn = f", drawn in {arguments.output}" if answers and draws else ""
    unread = f"; {failed} could not be read" if failed else ""
    print(f"{len(answers)} {'image' if len(answers) == 1 else 'images'}, {objects} objects{drawn}{unread}")
    return 1 if failed else 0


def _targets(images: list[Path], output: Path) -> dict[Path, Path]:
    """Where each image's drawn copy goes; never onto an image that is read."""
    if output.suffix.lower() in _WRITTEN and not output.is_dir():
        if len(images) > 1:
            raise LookonceError(f"--output {output} is one file, {len(images)} images given; name a folder.")
        targets = {images[0]: output}
    else:
        root = _common_folder(images)
        targets = {path: output / _written_name(path.relative_to(root)) for path in images}
    sources = {path.resolve() for path in images}
    for target in targets.values():
        if target.resolve() in sources:
            raise LookonceError(f"--output {output} would overwrite {target}; choose another folder.")
    return targets


def _written_name(name: Path) -> Path:
    return name if name.suffix.lower() in _WRITTEN else name.with_name(f"{name.name}.jpg")


def _common_folder(images: list[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in images]))


def _write_drawn(seen: Seen[Path], target: Path) -> None:
    from PIL import Image

    from lookonce.core.detections import Detections
    from lookonce.inference import draw
    from lookonce.io.atomic import atomic_file
    from lookonce.io.images import read_image

    assert isinstance(seen.answer, Detections)
    image = read_image(seen.source) if seen.image is None else seen.image
    drawn = Image.fromarray(draw(image, seen.answer))
    with atomic_file(target) as temporary:
        drawn.save(temporary, quality=92)


def _in_words(found: Detections) -> str:
    if not len(found):
        return "nothing found"
    words = [
        f"{found.names[label]} {score:.2f}" for label, score in zip(found.classes, found.scores, strict=True)
    ]
    more = f" and {len(words) - 12} more" if len(words) > 12 else ""
    return ", ".join(words[:12]) + more
