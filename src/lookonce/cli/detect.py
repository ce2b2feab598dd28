"""`lookonce detect`: find objects in images and video, draw them, and write them as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.cli import detect_ray
from lookonce.cli.detect_video import add_video_arguments, is_video, refuse_video_flags, run_video
from lookonce.cli.drawn_copies import names_of, targets, write_drawn
from lookonce.cli.model_arguments import add_model_arguments, open_detector

if TYPE_CHECKING:
    from lookonce.core.detections import Detections
    from lookonce.inference import ImageResult

# With more images than this, throughput matters more than the latency of the first one.
_FEW = 4
# Drawing and JPEG encoding release the GIL most of the time.
_DRAWERS = 2

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
        description="Find objects in images and video; draw them on copies and write them as JSON.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser, more_engines=("ray",))
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="an image, a folder of images, a quoted pattern, a video, a camera index, or a stream address",
    )
    parser.add_argument("--conf", type=float, default=0.3, help="minimum score (default %(default)s)")
    parser.add_argument(
        "--output",
        metavar="FILE|DIR",
        default="detections",
        help="annotated copies, video as .mp4 or .mov (default %(default)s/), or none",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write detections as a JSON array; for video, one JSON object per line"
    )
    parser.add_argument("--batch", type=int, default=8, help="images per batch (default %(default)s)")
    add_video_arguments(parser)
    detect_ray.add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Detect, draw and write; return 1 if any image could not be read."""
    if arguments.engine == "ray":
        return detect_ray.run(arguments)
    detect_ray.refuse_flags(arguments)
    if is_video(arguments.source):
        return run_video(arguments)
    refuse_video_flags(arguments)
    from lookonce.io.images import ImageError, list_images
    from lookonce.io.parallel import parallel_map

    images = list_images(arguments.source)
    draws = arguments.output != "none"
    names = names_of(images)
    copies = targets(images, Path(arguments.output)) if draws else {}
    from lookonce.io.atomic import write_text

    detector = open_detector(arguments, arguments.conf, many=len(images) > _FEW)
    print(f"{detector.card.name}: {detector.engine.name}")
    results: list[dict[str, Any]] = []
    failed = 0

    def draw_copy(image: ImageResult[Path]) -> None:
        if draws and not isinstance(image.detections, ImageError):
            _draw(image, copies[image.source])

    detected = detector.stream(images, arguments.batch)
    for image, drawing in parallel_map(
        draw_copy, detected, _DRAWERS, ahead=2 * arguments.batch, grace_seconds=10
    ):
        if isinstance(image.detections, ImageError):
            failed += 1
            print(f"lookonce: {image.detections}", file=sys.stderr)
            continue
        name = names[image.source]
        results.append(image.detections.to_dict(name))
        print(f"{name}: {_describe(image.detections)}")
        drawing.result()
    if arguments.json:
        write_text(Path(arguments.json), json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    objects = sum(len(result["boxes"]) for result in results)
    drawn = f", drawn in {arguments.output}" if results and draws else ""
    unread = f"; {failed} could not be read" if failed else ""
    print(f"{len(results)} {'image' if len(results) == 1 else 'images'}, {objects} objects{drawn}{unread}")
    return 1 if failed else 0


def _draw(image: ImageResult[Path], target: Path) -> None:
    from lookonce.core.detections import Detections
    from lookonce.inference import draw
    from lookonce.io.images import read_image

    assert isinstance(image.detections, Detections)
    pixels = read_image(image.source) if image.image is None else image.image
    write_drawn(draw(pixels, image.detections), target)


def _describe(detections: Detections) -> str:
    if not len(detections):
        return "nothing found"
    words = [
        f"{detections.names[label]} {score:.2f}"
        for label, score in zip(detections.classes, detections.scores, strict=True)
    ]
    more = f" and {len(words) - 12} more" if len(words) > 12 else ""
    return ", ".join(words[:12]) + more
