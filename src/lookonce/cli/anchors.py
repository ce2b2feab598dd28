"""`lookonce anchors`: cluster the boxes of a dataset into anchors."""

from __future__ import annotations

import argparse

from lookonce.cli.argument_types import size_argument

EXAMPLES = """examples:
  lookonce anchors my-vott-export -k 6
  lookonce anchors data/voc -k 9 --size 320x416 --plot anchors.png
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "anchors",
        help="k-means on IoU over the labelled boxes",
        description="Cluster the training boxes into anchors, at the network's input size.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", help="folder of labelled images")
    parser.add_argument(
        "-k", "--num-clusters", type=int, default=6, metavar="K", help="number of anchors (default: 6)"
    )
    parser.add_argument(
        "--size",
        type=size_argument,
        metavar="N|HxW",
        help="input size (default: 416 on the longer side, by the images' aspect ratio)",
    )
    parser.add_argument(
        "--resize", choices=("letterbox", "stretch"), default="letterbox", help="default: letterbox"
    )
    parser.add_argument("--split", default="train", metavar="LIST", help="default: train")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument("--plot", metavar="FILE", help="write a plot of boxes and anchors")
    parser.set_defaults(run=run_command)


def run_command(arguments: argparse.Namespace) -> int:
    """Print the anchors in the form of a cfg, and their average IoU."""
    from pathlib import Path

    from lookonce.darknet.anchors import anchors_for, choose_size
    from lookonce.labels import load_dataset

    checked = load_dataset(arguments.data)
    indices = checked.indices(checked.dataset.split(arguments.split, arguments.seed))
    size = choose_size(arguments.size, checked, 416)
    anchors = anchors_for(checked, indices, size, arguments.resize, arguments.num_clusters, arguments.seed)
    print(anchors.to_text())
    print(f"average IoU {anchors.average_iou:.4f} over {len(indices)} images at {size[1]}x{size[0]}")
    if arguments.plot:
        from lookonce.evaluation.plots import plot_anchors

        sizes = checked.box_sizes(indices, size, arguments.resize)
        plot_anchors(sizes, anchors.sizes, anchors.average_iou, Path(arguments.plot))
    return 0
