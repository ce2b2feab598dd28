"""`lookonce benchmark`: milliseconds per stage, engines side by side."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.cli.model_arguments import add_model_arguments
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from rich.table import Table

    from lookonce.inference.benchmark import Measured

_EXAMPLES = """examples:
  lookonce benchmark outputs/model.keras
  lookonce benchmark model.onnx --engine onnx,openvino,openvino-bf16 --image photo.jpg --batch 8
  lookonce benchmark yolov3-tiny.cfg --weights yolov3-tiny.weights --seconds 20 --json speed.json
"""


def add_parser(commands: Any) -> None:
    """Add `benchmark` to the command line."""
    parser = commands.add_parser(
        "benchmark",
        help="milliseconds per stage, engines side by side",
        description="Measure reading, preprocessing, the network, decoding with NMS, and drawing.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser, several_engines=True)
    parser.add_argument("--image", metavar="FILE", help="default: a generated 640x480 JPEG")
    parser.add_argument("--batch", type=int, default=1, help="images per batch (default %(default)s)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--seconds", type=float, default=5.0, help="duration per engine (default %(default)s)"
    )
    length.add_argument("--repeats", type=int, help="batches per engine, instead of a duration")
    parser.add_argument("--conf", type=float, default=0.3, help="minimum score (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table per engine, and write the JSON."""
    for name, value in (("batch", arguments.batch), ("repeats", arguments.repeats)):
        if value is not None and value < 1:
            raise LookonceError(f"--{name} is {value}; expected 1 or more.")
    if arguments.seconds <= 0:
        raise LookonceError(f"--seconds is {arguments.seconds:g}; expected more than 0.")
    from rich.console import Console

    from lookonce.inference.benchmark import measure
    from lookonce.io.atomic import write_text
    from lookonce.io.images import image_size

    options = {
        "model": arguments.model,
        **{key: getattr(arguments, key) for key in ("weights", "classes", "resize", "conf", "iou")},
        **{key: getattr(arguments, key) for key in ("device", "threads")},
    }
    # An engine named twice would be compared with itself.
    engines = list(dict.fromkeys(arguments.engine)) or ["auto"]
    with tempfile.TemporaryDirectory() as folder:
        image = Path(arguments.image) if arguments.image else _generated_image(Path(folder))
        width, height = image_size(image)
        measured = measure(engines, options, image, arguments.batch, arguments.seconds, arguments.repeats)
    shown = arguments.image or "a generated image"
    console = Console()
    console.print(
        f"{Path(arguments.model).name} on {shown} ({width}x{height}), batch {arguments.batch}, "
        "milliseconds per image:",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    for one in measured:
        console.print(f"\n{one.name}", style="bold", highlight=False, markup=False)
        console.print(_table(one))
        console.print(
            f"  {one.images_per_second:.1f} images/s sequentially "
            f"({len(one.totals) * one.batch} measured), {one.objects} objects found, "
            f"ready in {one.opening:.1f} s",
            highlight=False,
            soft_wrap=True,
        )
    if arguments.json:
        content = {
            "model": str(arguments.model),
            "image": arguments.image,
            "image_size": [width, height],
            "engines": [one.to_json() for one in measured],
        }
        write_text(Path(arguments.json), json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return 0


def _table(measured: Measured) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("stage")
    for heading in ("median", "p90", "p99", "share"):
        table.add_column(heading, justify="right")
    rows = measured.to_json()["milliseconds"]
    seconds = {**measured.seconds, "all": measured.totals}
    for stage, row in rows.items():
        if stage == "all":
            table.add_section()
        share = sum(seconds[stage]) / sum(measured.totals)
        cells = [f"{row[key]:.2f}" for key in ("median", "p90", "p99")]
        table.add_row(stage, *cells, f"{share:.0%}", style="bold" if stage == "all" else None)
    return table


def _generated_image(folder: Path) -> Path:
    """Write a 640x480 JPEG with edges, gradients and noise like a photo's."""
    import numpy as np
    from PIL import Image, ImageDraw

    random = np.random.default_rng(0)
    ramp = np.linspace(40, 200, 640)[None, :, None] + np.linspace(-30, 30, 480)[:, None, None]
    pixels = np.clip(ramp + random.normal(0, 4, (480, 640, 3)), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    for _ in range(30):
        left, top, wide, high = random.integers(0, (560, 400, 160, 160)).tolist()
        pen.rectangle((left, top, left + wide, top + high), fill=tuple(random.integers(0, 256, 3).tolist()))
    path = folder / "drawn.jpg"
    image.save(path, quality=90)
    return path
