"""`lookonce train DATA`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from lookonce.cli import train_azure
from lookonce.cli.argument_types import positive, size_argument
from lookonce.models.backend import choose_backend, process_number

if TYPE_CHECKING:
    from lookonce.training.recipe import Recipe

EXAMPLES = """examples:
  lookonce train my-vott-export
  lookonce train data/voc --model yolov3-tiny --weights yolov3-tiny.weights --epochs 40
  lookonce train data/voc --model my.cfg --weights my.weights --size 320x416 --num-clusters 6
  lookonce train data/voc --train-split trainval --val-split none     (every labelled image, no choosing)
  lookonce train data/voc --out outputs --resume                      (resume after Ctrl-C or a power cut)
  lookonce train data/voc --on azure --experiment-name cells --gpu-num 1 --low-priority   (in the cloud)
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "train",
        help="labelled images in, a trained detector out",
        description="Check the labels, cluster anchors, write the cfg, transplant pretrained weights, train, "
        "validate every epoch, and save the best model with its metrics in one folder.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data", metavar="DATA", nargs="?", help="folder of labelled images (Pascal VOC or VoTT)"
    )
    parser.add_argument("--data-dir", dest="data_dir", metavar="DATA", help="older name of DATA")
    model = parser.add_argument_group("model")
    model.add_argument("--model", default="yolov3-tiny", metavar="NAME|FILE.cfg", help="default: yolov3-tiny")
    model.add_argument("--weights", metavar="FILE", help="pretrained Darknet weights, or a .keras model")
    model.add_argument(
        "--weights-cfg", metavar="FILE", help="the cfg that the weights belong to, if not --model's"
    )
    model.add_argument(
        "--size", type=size_argument, metavar="N|HxW", help="input size (default: fits the images)"
    )
    model.add_argument(
        "--resize", choices=("letterbox", "stretch"), help="default: the cfg's, else letterbox"
    )
    model.add_argument(
        "--num-clusters", type=int, metavar="K", help="number of anchors (default: the model's)"
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--class-path", metavar="FILE", help="custom_classes.txt (default: the labels' own names)"
    )
    data.add_argument("--train-split", default="train", metavar="LIST", help="default: train")
    data.add_argument(
        "--val-split", default="val", metavar="LIST", help="default: val; none = do not validate"
    )
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument(
        "--recipe",
        metavar="FILE",
        help="TOML file of settings, such as the recipe.toml of a run; flags override it",
    )
    recipe.add_argument("--epochs", type=positive, metavar="N", help="default: 40")
    recipe.add_argument(
        "--freeze-epochs",
        type=int,
        metavar="N",
        help="first epochs with pretrained layers frozen (default: 2)",
    )
    recipe.add_argument("--bs", type=positive, metavar="N", help="batch size (default: 8)")
    recipe.add_argument("--lr", type=float, metavar="RATE", help="learning rate (default: 0.001)")
    recipe.add_argument(
        "--loss",
        choices=("cfg", "v3", "iou", "giou", "diou", "ciou"),
        help="box loss (default: cfg, the cfg's iou_loss)",
    )
    recipe.add_argument("--patience", type=positive, metavar="N", help="early stopping (default: 20)")
    recipe.add_argument("--seed", type=int, metavar="N", help="same seed, same result (default: 0)")
    recipe.add_argument("--weight-decay", type=float, metavar="RATE", help="of the kernels (default: 0.01)")
    recipe.add_argument(
        "--multi-scale",
        type=float,
        metavar="FACTOR",
        help="vary the input size up to FACTOR (default: 1, fixed)",
    )
    recipe.add_argument(
        "--closing", type=float, metavar="SHARE", help="last epochs without mosaic and mixup (default: 0.15)"
    )
    recipe.add_argument(
        "--mosaic", type=float, metavar="SHARE", help="training images composed of four (default: 0)"
    )
    recipe.add_argument(
        "--mixup", type=float, metavar="SHARE", help="training images blended of two (default: 0)"
    )
    recipe.add_argument(
        "--flip-vertical", action="store_true", help="mirror top to bottom, for images without an up"
    )
    run = parser.add_argument_group("run")
    run.add_argument("--out", default="outputs", metavar="DIR", help="default: outputs")
    run.add_argument("--resume", action="store_true", help="resume the run in --out")
    run.add_argument(
        "--experiment-name",
        default="lookonce",
        metavar="NAME",
        help="experiment in MLflow (default: lookonce)",
    )
    run.add_argument(
        "--no-track", action="store_true", help="no run in MLflow (default: mlflow.db beside --out)"
    )
    run.add_argument(
        "--backend", choices=("tensorflow", "jax", "torch"), help="Keras backend (default: tensorflow)"
    )
    train_azure.add_arguments(parser)
    parser.set_defaults(run=run_command, parser=parser)


def run_command(arguments: argparse.Namespace) -> int:
    """Train; Ctrl-C leaves a run that --resume goes on with."""
    data = arguments.data or arguments.data_dir
    if not data:
        arguments.parser.error("DATA is missing: the folder of labelled images")
    train_azure.check_machines(arguments)
    if arguments.on == "azure":
        return train_azure.run(arguments, data)
    if number := process_number():
        # Two that write one folder would spoil it.
        print(f"Process {number} leaves the training to process 0: one job trains on one machine so far.")
        return 0
    choose_backend(arguments.backend)
    from lookonce.training.train import train

    try:
        train(
            data,
            model=arguments.model,
            weights=arguments.weights,
            weights_cfg=arguments.weights_cfg,
            size=arguments.size,
            resize=arguments.resize,
            anchors=arguments.num_clusters,
            classes=arguments.class_path,
            train_split=arguments.train_split,
            val_split=arguments.val_split,
            recipe=_recipe(arguments),
            out=arguments.out,
            resume=arguments.resume,
            track=not arguments.no_track,
            experiment=arguments.experiment_name,
        )
    except KeyboardInterrupt:
        print(
            f"\nlookonce: stopped; every finished epoch is saved in {arguments.out}. "
            "Go on with the same command and --resume.",
            file=sys.stderr,
        )
        return 130
    return 0


def _recipe(arguments: argparse.Namespace) -> Recipe:
    """Return the recipe of --recipe with the flags that override it."""
    from lookonce.training.recipe import read_recipe

    recipe = read_recipe(arguments.recipe)
    return recipe.changed(
        {
            "epochs": arguments.epochs,
            "freeze_epochs": arguments.freeze_epochs,
            "batch_size": arguments.bs,
            "learning_rate": arguments.lr,
            "loss": arguments.loss,
            "patience": arguments.patience,
            "seed": arguments.seed,
            "weight_decay": arguments.weight_decay,
            "multi_scale": arguments.multi_scale,
            "closing": arguments.closing,
            "augmentation": recipe.augmentation.changed(
                {
                    "mosaic": arguments.mosaic,
                    "mixup": arguments.mixup,
                    "flip_vertical": arguments.flip_vertical or None,
                }
            ),
        }
    )
