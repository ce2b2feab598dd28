"""`lookonce`: finds the command's module, parses, and turns user errors into one message and exit 1."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from lookonce._version import __version__
from lookonce.errors import LookonceError

# Modules of this package; each has `add_parser(commands)` that imports nothing heavy.
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
    """The whole tree of commands; importing it costs milliseconds."""
    parser = argparse.ArgumentParser(
        prog="lookonce",
        description="From labelled images to an object detector that provably works.",
        epilog="Start with `lookonce demo`. Each command has its own help: lookonce train -h",
    )
    parser.add_argument("--version", action="version", version=f"lookonce {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"lookonce.cli.{name}").add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 the input is at fault, 2 usage, 130 interrupted."""
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
