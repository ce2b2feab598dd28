"""Choice of the Keras backend, and a quiet import of it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping

from lookonce.errors import LookonceError

DEFAULT_BACKEND = "tensorflow"


class MissingKerasError(LookonceError):
    """Keras, or the backend that it should run on, cannot be imported; the message says what to install."""


def choose_backend(backend: str | None = None) -> None:
    """Set Keras' backend (default TensorFlow) and import it; once imported it stays.

    TensorFlow's libraries write to standard error before any of their settings applies; that output is held
    back, and shown only if the import fails.

    Raises:
        MissingKerasError: Keras or the backend is not installed.
    """
    if "keras" in sys.modules:
        return
    if backend:
        os.environ["KERAS_BACKEND"] = backend
    chosen = os.environ.setdefault("KERAS_BACKEND", DEFAULT_BACKEND)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import keras

            keras.ops.zeros(1)
        except ModuleNotFoundError as error:
            raise MissingKerasError(
                f"{error.name} is not installed; Keras on {chosen} is required. "
                f"Install both with: pip install 'lookonce[{chosen}]'"
            ) from error
        except BaseException:
            notes.seek(0)
            os.write(kept, notes.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def process_number(environment: Mapping[str, str] | None = None) -> int:
    """Return this process's rank in its job, from the launcher's variables; 0 for the first or only one."""
    given = os.environ if environment is None else environment
    if text := given.get("TF_CONFIG"):
        try:
            task = json.loads(text)["task"]
            return int(task["index"]) + (task["type"] not in ("worker", "chief", "master"))
        except (ValueError, KeyError, TypeError):
            return 0
    for name in ("RANK", "OMPI_COMM_WORLD_RANK"):
        if given.get(name, "").isdigit():
            return int(given[name])
    return 0
