"""MODEL as the pair of files that Darknet and OpenCV's DNN module read."""

from __future__ import annotations

from pathlib import Path

from lookonce.darknet import parse_cfg, write_weights
from lookonce.errors import LookonceError
from lookonce.io.atomic import write_text
from lookonce.models.open import open_model


def export_darknet(model: str | Path, output: str | Path) -> tuple[Path, Path, Path]:
    """Export a model as Darknet files.

    Args:
        model: a `.keras` file.
        output: NAME.cfg; NAME.weights and NAME.names are written beside it.

    Returns:
        Paths of the cfg, the weights and the names.

    Raises:
        LookonceError: another kind of model or suffix, or a file cannot be read or written.
    """
    model, output = Path(model), Path(output)
    if output.suffix != ".cfg":
        raise LookonceError(f"{output}: the output's name must end with .cfg.")
    if model.suffix != ".keras":
        raise LookonceError(
            f"{model}: Darknet files are written from a .keras model. A .cfg with its weights is already "
            "one, and in an ONNX file batch norm is folded into the convolutions."
        )
    network, card = open_model(model)
    from lookonce.models.keras import to_darknet

    cfg = parse_cfg(card.cfg)
    weights, names = output.with_suffix(".weights"), output.with_suffix(".names")
    write_weights(weights, cfg, to_darknet(network, cfg))
    write_text(names, "\n".join(card.classes) + "\n")
    write_text(output, card.cfg)
    return output, weights, names
