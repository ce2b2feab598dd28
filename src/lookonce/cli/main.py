"""Entry point of `lookonce`: parse, run one command, report user errors as one message and exit 1."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from lookonce._version import __version__
from lookonce.errors import LookonceError

# Modules of this package; each has an `add_parser(commands)` without heavy imports.
COMMANDS = (
    "train",
    "evaluate",
    "compare",
    "detect",
    "serve",
    "score",
    "deploy",
    "benchmark",
    "export",
    "anchors",
    "data",
    "weights",
    "models",
    "storage",
    "azure",
    "demo",
)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands, in milliseconds."""
    parser = argparse.ArgumentParser(
        prog="lookonce",
        description="Train, measure and serve object detectors on your own images.",
        epilog="Start with `lookonce demo`. Each command has its own help: lookonce train -h",
    )
    parser.add_argument("--version", action="version", version=f"lookonce {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"lookonce.cli.{name}").add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 user error, 2 usage, 130 interrupted."""
    parsed = build_parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed) or 0)
    except LookonceError as error:
        print(f"lookonce: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        print("\nlookonce: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
