"""Start the stand-in for a user: `python tools/azure_stand_in [FOLDER]`; README.md has a walk."""

from __future__ import annotations

import argparse
import shlex
import shutil
import signal
import sys
import threading
from pathlib import Path

if __package__ in (None, ""):
    # Started as a folder: its modules have common names, and belong below the package's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from azure_stand_in.azurite import MissingProgramError
from azure_stand_in.stand_in import StandIn

_MARK = ".azure-stand-in"
_ENVIRONMENT = "environment.sh"


def main(arguments: list[str] | None = None) -> int:
    """Run until Ctrl-C or SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python tools/azure_stand_in",
        description="Run a workspace of Azure Machine Learning on this machine, to try lookonce against.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("azure-stand-in"),
        metavar="FOLDER",
        help="for its files; emptied at the next start (default: azure-stand-in)",
    )
    folder = parser.parse_args(arguments).folder.resolve()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        _prepare(folder)
        stand_in = StandIn(folder)
    except (MissingProgramError, OSError) as error:
        print(f"azure_stand_in: {error}", file=sys.stderr)
        return 1
    try:
        environment = folder / _ENVIRONMENT
        environment.write_text(_exports(stand_in), encoding="utf-8")
        environment.chmod(0o600)
        print(
            f"A workspace runs at {stand_in.url}. In another terminal:\n\n"
            f"  source {shlex.quote(str(environment))}\n"
            f"  cp {shlex.quote(str(stand_in.config))} .\n"
            f"  lookonce azure check\n\n"
            "Ctrl-C stops it, with all jobs and deployments.",
            flush=True,
        )
        stop.wait()
    finally:
        print("Stopping.", flush=True)
        stand_in.close()
    return 0


def _prepare(folder: Path) -> None:
    """Create the folder, or empty one of an earlier run. Raises OSError for any other folder with files."""
    if (folder / _MARK).is_file():
        shutil.rmtree(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not an empty folder. Choose one that does not exist yet.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()


def _exports(stand_in: StandIn) -> str:
    """Return shell lines with everything that a process needs to find this workspace and its storage."""
    storage = {
        "STORAGE_ACCOUNT_NAME": stand_in.storage.account,
        "STORAGE_ACCOUNT_KEY": stand_in.storage.key,
        "STORAGE_ENDPOINT_SUFFIX": "core.localhost",
        "STORAGE_CONTAINER_NAME_RAWDATA": "raw",
        "STORAGE_CONTAINER_NAME_TRAINDATA": "labelled",
    }
    lines = [
        "# Use it in a terminal of its own: its proxy leads to the stand-in only.",
        "unset STORAGE_CONNECTION_STRING AZUREML_CURRENT_CLOUD",
    ]
    variables = {**stand_in.environment, **storage}
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
