"""MODEL as the pair of files that Darknet and OpenCV's DNN module read."""

from __future__ import annotations

from pathlib import Path

from lookonce.darknet import parse_cfg, write_weights
from lookonce.errors import LookonceError
from lookonce.io.atomic import write_text
from lookonce.models.open import open_model


def export_darknet(model: str | Path, output: str | Path) -> tuple[Path, Path, Path]:
    """Write NAME.cfg, NAME.weights and NAME.names for `output` NAME.cfg; `model` is a `.keras` file.

    Raises LookonceError.
    """
    model, output = Path(model), Path(output)
    if output.suffix != ".cfg":
        raise LookonceError(f"--output {output}: a cfg's file name must end with .cfg.")
    if model.suffix != ".keras":
        raise LookonceError(
            f"{model}: Darknet's files are written from a .keras model. A .cfg with its weights is that pair "
            "already, and an ONNX file has its batch norms folded away."
        )
    network, card = open_model(model)
    from lookonce.models.keras import to_darknet

    cfg = parse_cfg(card.cfg)
    weights, names = output.with_suffix(".weights"), output.with_suffix(".names")
    write_weights(weights, cfg, to_darknet(network, cfg))
    write_text(names, "\n".join(card.classes) + "\n")
    write_text(output, card.cfg)
    return output, weights, names
