"""Which library Keras runs on, and loading it without its chatter."""

from __future__ import annotations

import os
import sys
import tempfile


def choose_backend(backend: str | None = None) -> None:
    """Set Keras' backend (default TensorFlow) and import it; once imported it stays.

    TensorFlow's libraries write notes about themselves to standard error before any setting of theirs can
    stop them; they are held back, and shown when the import fails.
    """
    if "keras" in sys.modules:
        return
    if backend:
        os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import keras

            keras.ops.zeros(1)
        except BaseException:
            notes.seek(0)
            os.write(kept, notes.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
