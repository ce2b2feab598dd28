"""Export to OpenVINO and LiteRT by Keras' exporters, with the model card beside the files."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path

from lookonce.errors import LookonceError
from lookonce.io.atomic import write_text
from lookonce.models.backend import choose_backend
from lookonce.models.open import open_model

CARD_SUFFIX = ".lookonce.json"


def export_openvino(
    model: str | Path,
    output: str | Path,
    *,
    weights: str | Path | None = None,
    classes: str | Path | None = None,
    resize: str | None = None,
) -> Path:
    """Export a model to OpenVINO: NAME.xml, NAME.bin and NAME.lookonce.json.

    The input `image` is float32 (batch, height, width, 3), RGB, 0..1; the outputs are the raw heads (batch,
    grid height, grid width, anchors * (5 + classes)), in cfg order.

    Args:
        model: a `.keras` file, or a Darknet `.cfg`.
        output: NAME.xml.
        weights: the Darknet weights of a `.cfg`.
        classes: a file with one class name per line.
        resize: 'letterbox' or 'stretch'; None takes the model's.

    Raises:
        LookonceError: the model cannot be opened, a package is missing, or the file cannot be written.
    """
    return _export("openvino", ".xml", model, output, weights, classes, resize)


def export_litert(
    model: str | Path,
    output: str | Path,
    *,
    weights: str | Path | None = None,
    classes: str | Path | None = None,
    resize: str | None = None,
) -> Path:
    """Export a model to LiteRT, for phones and small boards: NAME.tflite and NAME.lookonce.json.

    Arguments, input and outputs are those of `export_openvino`, for one image at a time and `output`
    NAME.tflite. Raises LookonceError.
    """
    return _export("litert", ".tflite", model, output, weights, classes, resize)


def _export(
    form: str,
    suffix: str,
    model: str | Path,
    output: str | Path,
    weights: str | Path | None,
    classes: str | Path | None,
    resize: str | None,
) -> Path:
    output = Path(output)
    if output.suffix != suffix:
        raise LookonceError(f"{output}: the output's name must end with {suffix}.")
    if form == "openvino":
        try:
            import openvino  # noqa: F401
        except ImportError as error:
            raise LookonceError("OpenVINO is not installed: pip install 'lookonce[openvino]'") from error
    choose_backend()
    import keras

    needed = ("tensorflow",) if form == "litert" else ("tensorflow", "jax")
    if keras.backend.backend() not in needed:
        raise LookonceError(
            f"{form} needs Keras on {' or '.join(needed)}, but KERAS_BACKEND is "
            f"{keras.backend.backend()}. Set KERAS_BACKEND=tensorflow."
        )
    network, card = open_model(model, weights=weights, classes=classes, resize=resize)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Atomic: written to a folder beside and moved, the file that others open last.
    with tempfile.TemporaryDirectory(prefix=f".{output.stem}.", dir=output.parent) as folder:
        exported = Path(folder) / output.name
        # Keras and TensorFlow print progress.
        with contextlib.redirect_stdout(io.StringIO()):
            network.export(str(exported), format=form, verbose=False)
        write_text(output.with_suffix(CARD_SUFFIX), card.to_json())
        for file in sorted(Path(folder).iterdir(), key=lambda file: file.suffix == suffix):
            os.replace(file, output.with_suffix(file.suffix))
    return output
