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

SIGHUP reloads the model's file without refusing requests; SIGTERM stops after in-flight requests finish.
"""


def add_parser(commands: Any) -> None:
    """Add `serve` to the command line."""
    parser = commands.add_parser(
        "serve",
        help="a REST API and a page for one model",
        description="Serve detections over HTTP, with a page for trying the model.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser, optional=True)
    parser.add_argument(
        "--conf", type=float, default=0.3, help="minimum score of requests without conf (default %(default)s)"
    )
    network = parser.add_argument_group("network")
    network.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    network.add_argument("--port", type=int, default=8080, help="0 selects a free port (default %(default)s)")
    network.add_argument(
        "--key-env",
        default="WEBSERVICE_KEY",
        metavar="NAME",
        help="variable that holds the key clients must send (default %(default)s; none set: no key)",
    )
    network.add_argument(
        "--insecure", action="store_true", help="allow listening beyond this machine without a key"
    )
    network.add_argument(
        "--label-studio",
        action="append",
        default=[],
        metavar="URL",
        help="the Label Studio that requests predictions, to fetch its images from (key in "
        "LABEL_STUDIO_API_KEY); repeat for each store that its tasks refer to",
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
        "--max-batch", type=int, default=8, metavar="N", help="images per batch (default %(default)s)"
    )
    load.add_argument(
        "--max-queue",
        type=int,
        default=128,
        metavar="N",
        help="images in flight, beyond which requests get 503 (default %(default)s)",
    )
    load.add_argument(
        "--deadline",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="time limit of a request (default %(default)s)",
    )
    load.add_argument(
        "--max-body",
        type=float,
        default=32,
        metavar="MIB",
        help="size limit of a request (default %(default)s)",
    )
    parser.add_argument(
        "--log",
        choices=("auto", "json", "text"),
        default="auto",
        help="format of the log on stderr (default: text in a terminal, else json)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until the process is stopped."""
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
        raise LookonceError(f"{variable} is set but empty. Set it to a key, or unset it.")
    return key
