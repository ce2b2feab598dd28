"""`lookonce serve`: a REST API and a page for one model."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from lookonce.cli.model_arguments import add_model_arguments
from lookonce.errors import LookonceError

_EXAMPLES = """examples:
  lookonce serve outputs/model.keras                     # then open http://127.0.0.1:8080/
  lookonce serve model.onnx --port 9000 --workers 2
  WEBSERVICE_KEY=secret lookonce serve model.onnx --host 0.0.0.0
  curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' 'http://127.0.0.1:8080/score?conf=0.5'

SIGHUP loads the model's file anew without refusing a request; SIGTERM answers what is inside and ends.
"""


def add_parser(commands: Any) -> None:
    """Add `serve` to the command line."""
    parser = commands.add_parser(
        "serve",
        help="a REST API and a page for one model",
        description="Answer images sent over HTTP with detections, and show a page to try it on.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser, optional=True)
    parser.add_argument(
        "--conf", type=float, default=0.3, help="lowest score unless asked for another (default %(default)s)"
    )
    network = parser.add_argument_group("network")
    network.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    network.add_argument("--port", type=int, default=8080, help="0 takes a free one (default %(default)s)")
    network.add_argument(
        "--key-env",
        default="WEBSERVICE_KEY",
        metavar="NAME",
        help="variable that holds the key clients must send (default %(default)s; none set: no key)",
    )
    network.add_argument(
        "--insecure", action="store_true", help="listen beyond this machine without a key all the same"
    )
    network.add_argument(
        "--label-studio",
        action="append",
        default=[],
        metavar="URL",
        help="the Label Studio that asks for predictions, to fetch its images (its key in "
        "LABEL_STUDIO_API_KEY); again for each store its tasks point to",
    )
    load = parser.add_argument_group("load")
    load.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that share the port (default 1: it uses all cores)",
    )
    load.add_argument(
        "--max-batch", type=int, default=8, metavar="N", help="images at a time (default %(default)s)"
    )
    load.add_argument(
        "--max-queue",
        type=int,
        default=128,
        metavar="N",
        help="images under way, beyond which clients are told to wait (default %(default)s)",
    )
    load.add_argument(
        "--deadline",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="for one request (default %(default)s)",
    )
    load.add_argument(
        "--max-body", type=float, default=32, metavar="MIB", help="of one request (default %(default)s)"
    )
    parser.add_argument(
        "--log",
        choices=("auto", "json", "text"),
        default="auto",
        help="form of the log on the error stream (default: text in a terminal, else json)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until the process is told to end."""
    positive = {
        "max-batch": arguments.max_batch,
        "max-queue": arguments.max_queue,
        "deadline": arguments.deadline,
        "max-body": arguments.max_body,
    }
    for name, value in positive.items():
        if not value > 0:
            raise LookonceError(f"--{name} is {value}; expected more than 0.")
    for name in ("conf", "iou"):
        if not 0 <= getattr(arguments, name) <= 1:
            raise LookonceError(f"--{name} is {getattr(arguments, name)}; expected a number from 0 to 1.")
    from lookonce.serving.server.allowed_images import checked_origin
    from lookonce.serving.server.model_file import find_model
    from lookonce.serving.server.processes import serve
    from lookonce.serving.server.settings import MIB, Settings

    settings = Settings(
        model_path=str(find_model(arguments.model)),
        **{name: getattr(arguments, name) for name in ("weights", "classes", "resize", "conf", "iou")},
        **{name: getattr(arguments, name) for name in ("engine", "device", "threads")},
        max_batch=arguments.max_batch,
        max_queue=arguments.max_queue,
        deadline_seconds=arguments.deadline,
        max_body_bytes=int(arguments.max_body * MIB),
        max_buffered_bytes=max(256 * MIB, int(2 * arguments.max_body * MIB)),
        key=_key(arguments.key_env),
        label_studio=tuple(map(checked_origin, arguments.label_studio)),
        label_studio_key=os.environ.get("LABEL_STUDIO_API_KEY", "").strip() or None,
    )
    as_json = arguments.log == "json" or (arguments.log == "auto" and not sys.stderr.isatty())
    return serve(settings, arguments.host, arguments.port, arguments.workers, as_json, arguments.insecure)


def _key(variable: str) -> str | None:
    key = os.environ.get(variable)
    if key is not None and not key.strip():
        raise LookonceError(f"{variable} is set but empty. Give it a key, or unset it.")
    return key
