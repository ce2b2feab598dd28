"""`lookonce demo`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lookonce.cli.argument_types import positive
from lookonce.models.backend import choose_backend

if TYPE_CHECKING:
    from lookonce.evaluation import Metrics

# Height, width: the images' own 3:4, small enough for two cores.
INPUT_SIZE = (192, 256)
EPOCHS = 80
# From nothing, the number of steps decides; small batches give many.
BATCH = 4
IMAGES = 100


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "demo",
        help="generate a small dataset, train, evaluate and detect on it",
        description="Generate labelled images of bolts, nuts and washers, train yolov3-tiny on them from "
        "scratch, measure it on held-out images, and draw its detections there.",
        epilog="example:\n  lookonce demo --output lookonce-demo --epochs 80",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", default="lookonce-demo", metavar="DIR", help="default: lookonce-demo")
    parser.add_argument("--images", type=positive, default=IMAGES, metavar="N", help=f"default: {IMAGES}")
    parser.add_argument("--epochs", type=positive, default=EPOCHS, metavar="N", help=f"default: {EPOCHS}")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="same seed, same images (default: 0)"
    )
    parser.add_argument(
        "--backend", choices=("tensorflow", "jax", "torch"), help="Keras backend (default: tensorflow)"
    )
    parser.set_defaults(run=run_command)


def run_command(arguments: argparse.Namespace) -> int:
    """Generate the dataset, train, evaluate, detect, draw; print a summary."""
    choose_backend(arguments.backend)
    from lookonce.inference.evaluate import evaluate
    from lookonce.labels.demo_set import held_out_set, make_demo_set
    from lookonce.training.recipe import Recipe
    from lookonce.training.train import train

    output = Path(arguments.output)
    data = make_demo_set(output, arguments.images, arguments.seed)
    unseen = held_out_set(data)
    print(f"Generated {arguments.images} labelled images: {data}")
    result = train(
        data,
        model="yolov3-tiny",
        out=output / "outputs",
        size=INPUT_SIZE,
        recipe=Recipe(
            epochs=arguments.epochs, batch_size=BATCH, patience=arguments.epochs, seed=arguments.seed
        ),
    )
    metrics = evaluate(result.model_path, unseen, split=None)
    drawn = _draw_detections(result.model_path, unseen / "JPEGImages", output / "detections")
    print(_summary(metrics, result.model_path, result.out, unseen, drawn))
    return 0


def _draw_detections(model: Path, images: Path, folder: Path) -> Path:
    """Draw the detections of every image of a folder into another folder."""
    import cv2

    from lookonce.inference import Detector
    from lookonce.inference.draw import draw
    from lookonce.io.images import ImageError, read_image

    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted(images.glob("*.jpg"))
    for path, (_, found) in zip(paths, Detector(model).detect_many(paths), strict=True):
        if isinstance(found, ImageError):
            raise found
        image = cv2.cvtColor(draw(read_image(path), found), cv2.COLOR_RGB2BGR)
        (folder / path.name).write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
    return folder


def _summary(metrics: Metrics, model: Path, run: Path, unseen: Path, drawn: Path) -> str:
    return f"""
On held-out images ({unseen}): AP50 {metrics.ap50:.3f}, AP {metrics.ap:.3f}
  model and curves    {run}
  detections drawn    {drawn}

Next:
  lookonce detect {model} {unseen / "JPEGImages"} --output found
  lookonce data check MY-VOTT-EXPORT          your own labelled images: is everything in order?
  lookonce train MY-VOTT-EXPORT --out my-run  and a detector of your own"""
