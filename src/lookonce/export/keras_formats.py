"""MODEL as OpenVINO and LiteRT files, by Keras' own exporters; the model card lies beside them."""

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
    """Write NAME.xml, NAME.bin and NAME.lookonce.json for `output` NAME.xml. Raises LookonceError.

    `image` float32 (batch, height, width, 3) RGB 0..1 in, the raw heads (batch, grid height, grid width,
    anchors * (5 + classes)) out, in cfg order.
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
    """Write NAME.tflite and NAME.lookonce.json for `output` NAME.tflite, for phones and small boards.

    Input and outputs are those of `export_openvino`, for one image at a time. Raises LookonceError.
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
        raise LookonceError(f"--output {output}: the file's name must end with {suffix}.")
    if form == "openvino":
        try:
            import openvino  # noqa: F401
        except ImportError as error:
            raise LookonceError("OpenVINO isn't installed: pip install 'lookonce[openvino]'") from error
    choose_backend()
    import keras

    needed = ("tensorflow",) if form == "litert" else ("tensorflow", "jax")
    if keras.backend.backend() not in needed:
        raise LookonceError(
            f"--format {form} needs Keras on {' or '.join(needed)}; KERAS_BACKEND says "
            f"{keras.backend.backend()}. Set KERAS_BACKEND=tensorflow."
        )
    network, card = open_model(model, weights=weights, classes=classes, resize=resize)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: made in a folder beside, and moved, the file that others open last.
    with tempfile.TemporaryDirectory(prefix=f".{output.stem}.", dir=output.parent) as folder:
        made = Path(folder) / output.name
        # Keras and TensorFlow print their progress.
        with contextlib.redirect_stdout(io.StringIO()):
            network.export(str(made), format=form, verbose=False)
        write_text(output.with_suffix(CARD_SUFFIX), card.to_json())
        for file in sorted(Path(folder).iterdir(), key=lambda file: file.suffix == suffix):
            os.replace(file, output.with_suffix(file.suffix))
    return output
