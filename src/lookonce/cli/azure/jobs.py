"""`lookonce azure jobs`: list, watch, download and cancel jobs."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.cli.azure.workspace import add_config_argument, needs_azure, open_client

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

_EXAMPLES = """examples:
  lookonce azure jobs list
  lookonce azure jobs watch NAME                 # show its log as it grows; Ctrl-C leaves the job running
  lookonce azure jobs download NAME --out outputs
  lookonce azure jobs cancel NAME
"""


def add_parser(actions: Any) -> None:
    """Add `jobs` to `lookonce azure`."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = actions.add_parser(
        "jobs", help="list, watch, download, cancel", epilog=_EXAMPLES, formatter_class=raw
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|watch|download|cancel")
    listed = verbs.add_parser("list", help="list the newest jobs and their states")
    listed.add_argument("--most", type=int, default=20, metavar="N", help="default: 20")
    followed = verbs.add_parser("watch", help="show a job's log until it ends, then register its models")
    followed.add_argument(
        "--register-as", metavar="NAME", help="the models' name (default: the experiment's)"
    )
    fetched = verbs.add_parser("download", help="download the folder of a job: models, metrics, plots")
    fetched.add_argument("--out", type=Path, default=Path("outputs"), metavar="DIR", help="default: outputs")
    canceled = verbs.add_parser("cancel", help="cancel a job; what it saved is kept")
    for one, run in ((listed, _list), (followed, _watch), (fetched, _download), (canceled, _cancel)):
        if one is not listed:
            one.add_argument("name", metavar="NAME")
        add_config_argument(one)
        one.epilog, one.formatter_class = _EXAMPLES, raw
        one.set_defaults(run=run)


def watch(
    client: MLClient, who: TokenCredential, name: str, model: str | None, out: Path | None = None
) -> int:
    """Follow a job; register its models, and download its folder to `out`; return the exit code."""
    from lookonce.azure.job_watch import RunHistory, follow
    from lookonce.azure.jobs import find_job, register_models
    from lookonce.errors import LookonceError
    from lookonce.models.registry import model_name

    begun = time.monotonic()

    def note(text: str) -> None:
        seconds = int(time.monotonic() - begun)
        print(f"[{seconds // 60:02d}:{seconds % 60:02d}] {text}", flush=True)

    try:
        with _ctrl_c() as stop:
            history = RunHistory(client, who)
            details = follow(history, name, lambda text: print(text, flush=True), note, stop)
    except KeyboardInterrupt:
        print(f"\nThe job continues.\n{_hints(name)}", file=sys.stderr)
        return 130
    except LookonceError as error:
        raise LookonceError(f"{error} The job continues.\n{_hints(name)}") from error
    if details.status != "Completed":
        reason = details.error.strip().splitlines() or ["no reason given"]
        if details.status == "Failed":
            raise LookonceError(
                f"job {name} failed: {reason[0]} Its log is above; download what it saved: lookonce azure "
                f"jobs download {name}"
            )
        print(f"Job {name} was canceled; download what it saved: lookonce azure jobs download {name}")
        return 1
    job = find_job(client, name)
    for one in register_models(client, name, model or model_name(job.experiment_name)[0]):
        score = f", AP50 {float(one.tags['val_map']):.3f}" if one.tags.get("val_map") else ""
        print(f"Registered {one.name}:{one.version}, the {one.tags['kind']} model{score}")
    if out is not None:
        return _fetch(client, name, out)
    print(f"Download its folder: lookonce azure jobs download {name} --out outputs")
    return 0


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C sets: an exception may be lost while Python cleans up."""
    stop = threading.Event()

    def pressed(*_: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, pressed)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _hints(name: str) -> str:
    return (
        f"  watch it again: lookonce azure jobs watch {name}\n"
        f"  cancel it:      lookonce azure jobs cancel {name}"
    )


def _open(arguments: argparse.Namespace) -> tuple[MLClient, TokenCredential]:
    with needs_azure():
        from lookonce.azure.session import credential
    who = credential()
    return open_client(arguments.config, who), who


def _watch(arguments: argparse.Namespace) -> int:
    client, who = _open(arguments)
    from lookonce.azure.jobs import find_job

    find_job(client, arguments.name)
    return watch(client, who, arguments.name, arguments.register_as)


def _list(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    client, _ = _open(arguments)
    from lookonce.azure.jobs import newest_jobs, status_of

    jobs = newest_jobs(client, max(1, arguments.most))
    if not jobs:
        print("No jobs in this workspace yet. Start one: lookonce train DATA --on azure")
        return 0
    table = Table(box=None)
    for heading in ("job", "status", "experiment", "compute", "created"):
        table.add_column(heading, overflow="fold")
    for job in jobs:
        created_at = getattr(job.creation_context, "created_at", None)
        created = created_at.strftime("%Y-%m-%d %H:%M") if created_at is not None else ""
        compute = str(getattr(job, "compute", "") or "serverless").rpartition("/")[2]
        table.add_row(job.name, status_of(job), job.experiment_name or "", compute, created)
    Console().print(table)
    return 0


def _download(arguments: argparse.Namespace) -> int:
    client, _ = _open(arguments)
    return _fetch(client, arguments.name, arguments.out)


def _fetch(client: MLClient, name: str, out: Path) -> int:
    from lookonce.azure.blobs import SENT, THERE
    from lookonce.azure.jobs import fetch

    summary = fetch(client, name, out)
    print(f"{out}: {summary.count(SENT)} files downloaded from job {name}, {summary.count(THERE)} unchanged.")
    for blob, reason in sorted(summary.failed.items()):
        print(f"  {blob}: {reason}", file=sys.stderr)
    return 1 if summary.failed else 0


def _cancel(arguments: argparse.Namespace) -> int:
    client, _ = _open(arguments)
    from lookonce.azure.jobs import cancel

    status = cancel(client, arguments.name)
    print(
        f"Job {arguments.name}: {status}. Download what it saved: lookonce azure jobs download "
        f"{arguments.name}"
    )
    return 0
