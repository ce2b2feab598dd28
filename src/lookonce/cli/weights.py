"""`lookonce weights`: inspect weights and model files; download known base weights."""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from lookonce.darknet import Cfg, DarknetWeights

_INSPECT_EXAMPLES = """examples:
  lookonce weights inspect yolov3-tiny.weights
  lookonce weights inspect mine.weights --cfg mine.cfg
  lookonce weights inspect outputs/model.keras --json
"""
_GET_EXAMPLES = """examples:
  lookonce weights get yolov3-tiny
  lookonce weights get darknet53 --output weights
  lookonce weights get yolov3 --base-url https://mirror.example/files
"""


def add_parser(commands: Any) -> None:
    """Add `weights inspect` and `weights get`."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser("weights", help="inspect weights and model files; download base weights")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    inspect = actions.add_parser(
        "inspect",
        help="print the content of a .weights, .keras or .onnx file",
        description="Print a file's header and layers, or a model's card.",
        epilog=_INSPECT_EXAMPLES,
        formatter_class=raw,
    )
    inspect.add_argument(
        "file", metavar="FILE", type=Path, help="a Darknet weights file, or a .keras or .onnx model"
    )
    inspect.add_argument(
        "--cfg",
        type=Path,
        metavar="FILE",
        help="the cfg of the weights (default: the .cfg of the same name beside them, "
        "else the known network of that size)",
    )
    inspect.add_argument("--json", action="store_true", help="print JSON instead of tables")
    inspect.set_defaults(run=_inspect)

    get = actions.add_parser(
        "get",
        help="download base weights and verify them",
        description="Download yolov3, yolov3-tiny or darknet53. A broken download is resumed.",
        epilog=_GET_EXAMPLES,
        formatter_class=raw,
    )
    get.add_argument("name", metavar="NAME", help="yolov3, yolov3-tiny or darknet53")
    get.add_argument(
        "--output", type=Path, default=Path("."), metavar="DIR", help="folder (default: the current one)"
    )
    get.add_argument("--base-url", metavar="URL", help="a mirror with the same files")
    get.set_defaults(run=_get)


def _inspect(arguments: argparse.Namespace) -> int:
    if zipfile.is_zipfile(arguments.file) or arguments.file.suffix == ".onnx":
        return _inspect_model(arguments.file, arguments.json)
    return _inspect_weights(arguments.file, arguments.cfg, arguments.json)


def _inspect_model(path: Path, as_json: bool) -> int:
    from rich.console import Console
    from rich.table import Table

    from lookonce.models.cards import read_card

    card = read_card(path)
    if card is None:
        raise LookonceError(
            f"{path}: has no lookonce.json inside, so it was not saved by lookonce; expected a "
            "model.keras from a training run, or a Darknet .weights file."
        )
    if as_json:
        print(card.to_json())
        return 0
    table = Table(title=str(path), show_header=False)
    table.add_row("name", card.name)
    table.add_row("classes", f"{len(card.classes)}: {', '.join(card.classes)}")
    table.add_row("input size", f"{card.input_size[1]} x {card.input_size[0]} (width x height)")
    table.add_row("resize", card.resize)
    table.add_row("created", f"{card.created} by lookonce {card.lookonce}")
    for title, values in (("trained on", card.trained_on), ("metrics", card.metrics)):
        table.add_row(title, "\n".join(f"{key}: {value}" for key, value in values.items()) or "-")
    Console().print(table, markup=False)
    return 0


def _inspect_weights(path: Path, cfg_path: Path | None, as_json: bool) -> int:
    from lookonce.darknet import read_cfg, read_header, read_weights

    header, floats = read_header(path)
    beside = path.with_suffix(".cfg")
    if cfg_path or (beside != path and beside.is_file()):
        cfg = read_cfg(cfg_path or beside)
    else:
        cfg = _fitting_cfg(path, floats.size)
    weights = read_weights(path, cfg)
    rows = _rows(cfg, weights)
    about: dict[str, Any] = {
        "file": str(path),
        "version": f"{header.major}.{header.minor}.{header.revision}",
        "seen": header.seen,
        "floats": int(floats.size),
        "cfg": cfg.source,
        "complete": weights.complete,
    }
    if as_json:
        print(json.dumps({**about, "layers": rows}, indent=2))
    else:
        _print_weights(about, rows)
    return 0


def _fitting_cfg(path: Path, floats: int) -> Cfg:
    from lookonce.darknet import known_fits

    fits = known_fits(floats)
    if not fits:
        raise LookonceError(
            f"{path}: {floats:,} floats match no known network. Give the cfg of the weights with --cfg FILE."
        )
    return fits[0].cfg


def _rows(cfg: Cfg, weights: DarknetWeights) -> list[dict[str, Any]]:
    from lookonce.darknet import plan

    rows: list[dict[str, Any]] = []
    for layer in plan(cfg):
        if layer.conv is None:
            continue
        held = weights.layers.get(layer.index)
        row: dict[str, Any] = {
            "layer": layer.index,
            "kernel": list(layer.conv.kernel_shape),
            "batch_normalize": layer.conv.batch_normalize,
            "floats": layer.conv.floats,
            "in_file": held is not None,
        }
        if held is not None:
            row |= {"kernel_mean": float(held.kernel.mean()), "kernel_std": float(held.kernel.std())}
        rows.append(row)
    return rows


def _print_weights(about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    end = "all layers" if about["complete"] else "partial: the last layers are not in the file"
    print(f"{about['file']}: Darknet weights {about['version']}, trained on {about['seen']:,} images")
    print(f"{about['floats']:,} floats, read with {about['cfg']}; {end}")
    table = Table("layer", "kernel (out, in, h, w)", "batch norm", "floats", "mean", "std")
    for column in table.columns[3:]:
        column.justify = "right"
    for row in rows:
        spread = (
            [f"{row[key]:.4f}" for key in ("kernel_mean", "kernel_std")] if row["in_file"] else ["-", "-"]
        )
        kernel = " x ".join(map(str, row["kernel"]))
        normalized = "yes" if row["batch_normalize"] else "no"
        table.add_row(str(row["layer"]), kernel, normalized, f"{row['floats']:,}", *spread)
    Console().print(table)


def _get(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from lookonce.darknet.base_weights import KNOWN, fetch

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(arguments.name, total=None)
        path = fetch(
            arguments.name,
            arguments.output,
            arguments.base_url,
            lambda done, size: bar.update(task, completed=done, total=size),
        )
    print(f"{path}: complete, verified by {KNOWN[arguments.name].checked_by}")
    return 0
