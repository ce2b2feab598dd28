"""`lookonce score`: send images to a running service, here or on Azure."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.cli import score_service
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lookonce.cli.score_results import Scorer
    from lookonce.cli.score_service import NamedService
    from lookonce.serving.client.client import ScoringClient

_KEY = "WEBSERVICE_KEY"
_MOST_CLIENTS, _MOST_SECONDS = 256, 600.0
_MOST_BENCH_BYTES = 2**30
_EXAMPLES = """examples:
  lookonce score photo.jpg                               # with `lookonce serve` on this machine
  lookonce score photos/ --conf 0.5 --output drawn --json found.json
  lookonce score "photos/*.png" --json - | jq '.[].boxes[].label'
  lookonce score photo.jpg --service cells               # created by lookonce deploy, locally or in Azure
  SCORING_URI=https://NAME.REGION.inference.ml.azure.com/score WEBSERVICE_KEY=... lookonce score photo.jpg
  lookonce score photos/ --bench --clients 8 --seconds 30
"""


def add_parser(commands: Any) -> None:
    """Add `score` to the command line."""
    parser = commands.add_parser(
        "score",
        help="send images to a running service",
        description="Send images to a running service; print, draw and write its detections.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="an image, a folder of images, or a quoted pattern; may be repeated",
    )
    service = parser.add_argument_group("the service")
    service.add_argument(
        "--uri",
        metavar="URL",
        help="with or without /score (default: $SCORING_URI, else http://127.0.0.1:8080)",
    )
    score_service.add_arguments(service)
    service.add_argument(
        "--key-env",
        metavar="NAME",
        default=_KEY,
        help="variable that holds the key (default %(default)s; none set: no key)",
    )
    service.add_argument("--deployment", metavar="NAME", help="one deployment of an Azure ML endpoint")
    service.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="per image, including all attempts (default %(default)s)",
    )
    service.add_argument(
        "--retries",
        type=int,
        default=3,
        metavar="N",
        help="further attempts while the service is busy or starting (default %(default)s)",
    )
    service.add_argument(
        "--at-once", type=int, default=4, metavar="N", help="images in flight (default %(default)s)"
    )
    parser.add_argument("--conf", type=float, help="minimum score (default: the service's)")
    parser.add_argument("--iou", type=float, help="IoU above which NMS drops a box (default: the service's)")
    parser.add_argument("--output", metavar="FILE|DIR", help="write drawn copies there")
    parser.add_argument("--json", metavar="FILE", help="write the detections as a JSON array; - prints it")
    bench = parser.add_argument_group("load test")
    bench.add_argument("--bench", action="store_true", help="send the images repeatedly and measure")
    bench.add_argument(
        "--clients", type=int, default=4, metavar="N", help="concurrent clients (default %(default)s)"
    )
    bench.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="duration (default %(default)s)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Send images, print and write the results; return 1 if any image failed."""
    _check(arguments)
    images = _images(arguments.images)
    started = time.monotonic()
    named = score_service.find_service(arguments) if arguments.service else None
    if named is not None and named.batch is not None:
        from lookonce.cli.score_service import run_batch

        return _report(run_batch(arguments, named, images), images, arguments, started)
    client = _client(arguments, named, arguments.clients if arguments.bench else arguments.at_once)
    if arguments.bench:
        return _bench(client, images, arguments)
    return _report(client, images, arguments, time.monotonic())


def _report(client: Scorer, images: list[Path], arguments: argparse.Namespace, started: float) -> int:
    from lookonce.cli.score_results import send, show

    results, failed = send(client, images, arguments.at_once, arguments.output)
    if arguments.json:
        _write_json(results, arguments.json)
    if arguments.json != "-":
        show(results, failed, time.monotonic() - started, arguments.output)
    return 1 if failed else 0


def _check(arguments: argparse.Namespace) -> None:
    for name in ("conf", "iou"):
        value = getattr(arguments, name)
        if value is not None and not 0 <= value <= 1:
            raise LookonceError(f"--{name} is {value}; expected a number from 0 to 1.")
    for name, least, most in (
        ("timeout", 0.1, 3600.0),
        ("retries", 0, 100),
        ("at_once", 1, _MOST_CLIENTS),
        ("clients", 1, _MOST_CLIENTS),
        ("seconds", 0.1, _MOST_SECONDS),
    ):
        value = getattr(arguments, name)
        if not least <= value <= most:
            flag = name.replace("_", "-")
            raise LookonceError(f"--{flag} is {value:g}; expected {least:g} to {most:g}.")
    if arguments.bench and arguments.output:
        raise LookonceError("--bench draws nothing. Leave out --output or --bench.")


def _images(sources: Sequence[str]) -> list[Path]:
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_file():
            found[path] = None
        else:
            # Imported late: it loads OpenCV, which takes longer than a request.
            from lookonce.io.images import list_images

            found.update(dict.fromkeys(list_images(source)))
    return list(found)


def _client(arguments: argparse.Namespace, named: NamedService | None, connections: int) -> ScoringClient:
    from lookonce.serving.client.address import DEFAULT_URI, ScoringAddress
    from lookonce.serving.client.client import ScoringClient

    uri, stored_key = arguments.uri or os.environ.get("SCORING_URI") or DEFAULT_URI, None
    if named is not None:
        uri, stored_key = named.uri, named.key
    address = ScoringAddress.parse(uri, {"conf": arguments.conf, "iou": arguments.iou})
    key = stored_key or os.environ.get(arguments.key_env)
    if key is None and arguments.key_env != _KEY:
        raise LookonceError(f"--key-env names {arguments.key_env}, which is not set. Set it to the key.")
    if key is not None and address.scheme == "http" and not address.is_local:
        print(
            f"lookonce: the key is sent to {address.shown} unencrypted; use https:// if possible.",
            file=sys.stderr,
        )
    return ScoringClient(
        address,
        key,
        "the workspace" if stored_key else arguments.key_env,
        arguments.deployment,
        arguments.timeout,
        arguments.retries,
        connections,
    )


def _bench(client: ScoringClient, images: list[Path], arguments: argparse.Namespace) -> int:
    from lookonce.serving.client.client import read_file
    from lookonce.serving.client.load_test import measure

    contents, size = [], 0
    for image in images:
        contents.append(read_file(image))
        size += len(contents[-1])
        if size > _MOST_BENCH_BYTES:
            raise LookonceError(
                f"--bench keeps the images in memory, and these exceed {_MOST_BENCH_BYTES:,} bytes. Pass "
                "fewer."
            )
    # One normal request first, so that a wrong address, key or image is reported as without --bench.
    client.score(images[0])
    load = measure(client, contents, arguments.clients, arguments.seconds)
    figures = {"uri": client.address.shown, "images": len(images), "bytes": size, **load.to_json()}
    if arguments.json:
        _write_json(figures, arguments.json)
    if arguments.json != "-":
        from lookonce.cli.score_results import show_load

        show_load(figures)
    return 0 if load.latencies else 1


def _write_json(content: object, target: str) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        from lookonce.io.atomic import write_text

        write_text(Path(target), text)
