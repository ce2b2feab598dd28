"""`lookonce models`: register, list, show and download models by name and version."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.cli.azure.workspace import add_config_argument, needs_azure, open_client
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from lookonce.models.registry import Registered, Registry

_EXAMPLES = """examples:
  lookonce models register outputs/model.keras --name cells --alias champion
  lookonce models register --model-size tiny                  # Darknet's base weights, checksum verified
  lookonce models list
  lookonce models download cells:champion --output models/

The registry is MLflow's, in ./mlflow.db or at MLFLOW_TRACKING_URI; with --on azure the workspace's.
"""
# Older names of Darknet's base models.
_BASE = {"full": "yolov3", "tiny": "yolov3-tiny"}


def add_parser(commands: Any) -> None:
    """Add `models` to the command line."""
    parser = commands.add_parser(
        "models",
        help="register, list, show and download models",
        description="Keep models under a name, in versions, with aliases.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="register|list|show|download")
    register = actions.add_parser("register", help="register a file as a new version of a model")
    register.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="a .keras, .onnx or .weights file"
    )
    register.add_argument(
        "--model-size", choices=sorted(_BASE), help="instead of FILE: Darknet's base weights"
    )
    register.add_argument("--name", help="default: the file's")
    register.add_argument("--alias", help="a name for this version; moves it from another")
    register.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="may be repeated")
    register.add_argument(
        "--weights-dir", type=Path, default=Path("weights"), metavar="DIR", help="folder for base weights"
    )
    register.add_argument("--base-url", metavar="URL", help="a mirror of the base weights")
    listed = actions.add_parser("list", help="list every model's newest version")
    show = actions.add_parser("show", help="show a model's versions with their tags")
    show.add_argument("model", metavar="NAME[:VERSION|:ALIAS]")
    download = actions.add_parser("download", help="download a version's file")
    download.add_argument("model", metavar="NAME[:VERSION|:ALIAS]", help="default: the newest")
    download.add_argument("--output", type=Path, default=Path("."), metavar="DIR")
    for one in (register, listed, show, download):
        one.add_argument("--on", choices=("local", "azure"), default="local", help="default: local")
        add_config_argument(one)
        one.epilog, one.formatter_class = _EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run one action and print its result."""
    from lookonce.models.registry import find

    if arguments.action == "register":
        return _register(arguments)
    registry = _open(arguments)
    if arguments.action == "list":
        _table(registry.newest())
    elif arguments.action == "show":
        _show(registry, arguments.model)
    else:
        version = find(registry, arguments.model)
        path = registry.download(version, arguments.output)
        print(f"{version.name}:{version.version} downloaded to {path}")
    return 0


def _open(arguments: argparse.Namespace) -> Registry:
    if arguments.on == "local":
        from lookonce.models.registry import open_local

        return open_local()
    with needs_azure():
        from lookonce.azure.registry import AzureRegistry
    return AzureRegistry(open_client(arguments.config))


def _register(arguments: argparse.Namespace) -> int:
    from lookonce.models.registry import checked_alias, model_name

    # Check names before anything is downloaded or sent.
    checked_alias(arguments.alias)
    tags = dict(_tag(text) for text in arguments.tag)
    if (arguments.file is None) == (arguments.model_size is None):
        raise LookonceError("give either FILE or --model-size full|tiny.")
    base = _BASE.get(arguments.model_size or "")
    name, note = model_name(arguments.name or (arguments.file.stem if arguments.file else str(base)))
    if note:
        print(note)
    registry = _open(arguments)
    file = arguments.file or _base_weights(str(base), arguments.weights_dir, arguments.base_url)
    if not file.is_file():
        raise LookonceError(f"{file}: no such file. Give a model's file.")
    done = registry.register(file, name, {**_card_tags(file), **tags}, arguments.alias)
    also = f", {arguments.alias}" if arguments.alias else ""
    print(f"Registered {done.name}:{done.version}{also}")
    return 0


def _base_weights(base: str, folder: Path, base_url: str | None) -> Path:
    from lookonce.darknet.base_weights import fetch

    return fetch(base, folder, base_url)


def _card_tags(file: Path) -> dict[str, str]:
    """Return tags from the model's card: classes, size, metrics; none for a weights file."""
    from lookonce.models.cards import read_card

    card = read_card(file)
    if card is None:
        return {}
    tags = {
        "classes": ", ".join(card.classes),
        "input": f"{card.input_size[1]}x{card.input_size[0]}",
        "resize": card.resize,
        "lookonce": card.lookonce,
    }
    metrics = {key: f"{value:.4g}" for key, value in card.metrics.items() if isinstance(value, int | float)}
    return tags | metrics


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise LookonceError(f"--tag {text[:60]!r} is not KEY=VALUE.")
    return key.strip(), value


def _show(registry: Registry, wanted: str) -> None:
    from lookonce.models.registry import find

    chosen = find(registry, wanted)
    versions = [chosen] if ":" in wanted else registry.versions(chosen.name)
    for one in versions:
        aliases = f"  ({', '.join(one.aliases)})" if one.aliases else ""
        print(f"{one.name}:{one.version}{aliases}  {one.created}")
        for key, value in sorted(one.tags.items()):
            print(f"  {key}: {value}")


def _table(found: Sequence[Registered]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not found:
        print("No models are registered. Register one: lookonce models register FILE --name NAME")
        return
    table = Table(box=None)
    for heading in ("model", "version", "aliases", "AP50", "classes", "created"):
        table.add_column(heading, overflow="fold")
    for one in found:
        table.add_row(
            one.name,
            one.version,
            ", ".join(one.aliases),
            one.tags.get("val_map", ""),
            one.tags.get("classes", ""),
            one.created,
        )
    Console().print(table)
