"""`lookonce storage`: upload or download a folder with Azure Blob Storage."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.cli.azure.workspace import needs_azure
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from lookonce.azure.blobs import Summary

_EXAMPLES = """examples:
  lookonce storage upload images/                          # into $STORAGE_CONTAINER_NAME_RAWDATA
  lookonce storage upload images/ --container raw --delete # and delete everything else in it
  lookonce storage download labelled/                        # from $STORAGE_CONTAINER_NAME_TRAINDATA

account: STORAGE_CONNECTION_STRING, or STORAGE_ACCOUNT_NAME with STORAGE_ACCOUNT_KEY, or the name alone and
az login. Running the same command again transfers only what is missing or differs.
"""
_SHOWN = 20


def add_parser(commands: Any) -> None:
    """Add `storage` to the command line."""
    parser = commands.add_parser(
        "storage",
        help="upload or download a folder with Azure Blob Storage",
        description="Upload a folder to a private blob container, or download a container to a folder.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="upload|download")
    for action, variable in (("upload", "RAWDATA"), ("download", "TRAINDATA")):
        one = actions.add_parser(
            action,
            help=f"default container: $STORAGE_CONTAINER_NAME_{variable}",
            epilog=_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.add_argument("folder", metavar="DIR", type=Path)
        one.add_argument(
            "--container", metavar="NAME", help=f"default: the variable STORAGE_CONTAINER_NAME_{variable}"
        )
        one.add_argument("--prefix", default="", metavar="PATH", help="only below this path in the container")
        one.add_argument(
            "--at-once", type=int, default=16, metavar="N", help="parallel transfers (default 16)"
        )
        one.add_argument(
            "--dry-run", action="store_true", help="report what would be transferred, change nothing"
        )
        if action == "upload":
            one.add_argument(
                "--delete", action="store_true", help="afterwards delete blobs that the folder lacks"
            )
        one.set_defaults(run=run, variable=f"STORAGE_CONTAINER_NAME_{variable}")


def run(arguments: argparse.Namespace) -> int:
    """Transfer with a progress bar and print the summary; return 1 if any file failed."""
    if not 1 <= arguments.at_once <= 256:
        raise LookonceError(f"--at-once is {arguments.at_once}; expected 1 to 256.")
    with needs_azure():
        from lookonce.azure.blobs import BlobAccount, container_name
    name = container_name(arguments.container, arguments.variable)
    container = BlobAccount.from_environment().container(name, arguments.at_once)
    begun = time.monotonic()
    summary = _with_progress(arguments, container)
    _print(summary, arguments, name, time.monotonic() - begun)
    return 1 if summary.failed else 0


def _with_progress(arguments: argparse.Namespace, container: Any) -> Summary:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from lookonce.azure.download import download
    from lookonce.azure.upload import upload

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[files]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{arguments.action.capitalize()}ing", total=None, files="listing")

        def show(summary: Summary, done: int, total: int) -> None:
            failed = f", {len(summary.failed)} failed" if summary.failed else ""
            files = f"{sum(summary.counts.values())} files{failed}"
            bar.update(task, completed=done, total=total or None, files=files)

        options = {"prefix": arguments.prefix, "dry_run": arguments.dry_run, "at_once": arguments.at_once}
        try:
            if arguments.action == "upload":
                return upload(arguments.folder, container, delete=arguments.delete, progress=show, **options)
            return download(container, arguments.folder, progress=show, **options)
        except KeyboardInterrupt:
            bar.stop()
            print("Stopped; the same command continues.", file=sys.stderr)
            raise


def _print(summary: Summary, arguments: argparse.Namespace, container: str, seconds: float) -> None:
    from lookonce.azure.blobs import DELETED, SENT, STRAY, THERE

    sent, size = summary.count(SENT), summary.sizes.get(SENT, 0)
    direction = "to" if arguments.action == "upload" else "from"
    verb = "would be transferred" if arguments.dry_run else "transferred"
    rate = (
        f", {size / 2**20:.1f} MiB in {seconds:.1f} s ({sent / max(seconds, 1e-3):.0f} files/s)"
        if sent
        else ""
    )
    print(f"{sent} files {verb} {direction} container {container}{rate}; {summary.count(THERE)} unchanged.")
    if deleted := summary.count(DELETED):
        print(f"{deleted} files that {arguments.folder} lacks were deleted in the container.")
    if stray := summary.count(STRAY):
        what = (
            "would be deleted" if getattr(arguments, "delete", False) else "are kept; --delete deletes them"
        )
        print(f"{stray} files in the container that {arguments.folder} lacks {what}.")
    for note in summary.notes:
        print(f"Note: {note}.")
    if summary.failed:
        print(f"{len(summary.failed)} failed:", file=sys.stderr)
        for name, reason in sorted(summary.failed.items())[:_SHOWN]:
            print(f"  {name}: {reason}", file=sys.stderr)
        if len(summary.failed) > _SHOWN:
            print(f"  and {len(summary.failed) - _SHOWN} more", file=sys.stderr)
        print("Run the same command again to transfer them.", file=sys.stderr)
