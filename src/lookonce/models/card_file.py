"""The card in a model's file, without opening its network."""

from __future__ import annotations

import zipfile
from pathlib import Path

from lookonce.core.model_card import CARD_KEY, ModelCard
from lookonce.errors import LookonceError

_MOST_BYTES = 16 * 2**20


def read_card(file: Path) -> ModelCard | None:
    """Of a .keras or .onnx file; None where there is none, as in weights. Raises LookonceError."""
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                if CARD_KEY not in archive.namelist() or archive.getinfo(CARD_KEY).file_size > _MOST_BYTES:
                    return None
                return ModelCard.from_json(archive.read(CARD_KEY).decode("utf-8"), str(file))
        if file.suffix.lower() != ".onnx":
            return None
        import onnx

        metadata = {
            entry.key: entry.value for entry in onnx.load(file, load_external_data=False).metadata_props
        }
        return ModelCard.of_metadata(metadata, str(file)) if CARD_KEY in metadata else None
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise LookonceError(f"{file}: can't be read ({error}).") from error
    # protobuf's own, which onnx doesn't name.
    except Exception as error:
        if isinstance(error, LookonceError):
            raise
        raise LookonceError(f"{file}: is no ONNX file ({type(error).__name__}).") from error
