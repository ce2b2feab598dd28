"""The model card inside .keras and .onnx files: read without opening the network, and written."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lookonce.core.model_card import CARD_KEY, ModelCard
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    import onnx

# A card is a few kilobytes: the cfg's text is nearly all of it.
_MOST_CARD_BYTES = 16 * 2**20
# Eight times yolov4's weights; a small file that unpacks to more is an attack.
_MOST_UNPACKED_BYTES = 2**31
# The last three: a truncated entry, an unknown compression, and an encrypted entry.
_BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    UnicodeDecodeError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


def read_card(file: Path) -> ModelCard | None:
    """Return the card of a .keras or .onnx file, or None for a file without one, such as weights.

    Raises:
        LookonceError: the file cannot be read, or the file or its card is damaged.
    """
    if zipfile.is_zipfile(file):
        with open_archive(file) as archive:
            if CARD_KEY not in archive.namelist():
                return None
            size = archive.getinfo(CARD_KEY).file_size
            if size > _MOST_CARD_BYTES:
                raise LookonceError(f"{file}: its {CARD_KEY} has {size:,} bytes, too many for a card.")
            text = archive.read(CARD_KEY).decode("utf-8")
        return ModelCard.from_json(text, str(file))
    if file.suffix.lower() != ".onnx":
        return None
    try:
        import onnx

        metadata = graph_metadata(onnx.load(file, load_external_data=False))
    except OSError as error:
        raise LookonceError(f"{file}: cannot be read ({error}).") from error
    # protobuf raises errors of its own.
    except Exception as error:
        raise LookonceError(f"{file}: is not an ONNX file ({type(error).__name__}).") from error
    return card_from_metadata(metadata, str(file)) if CARD_KEY in metadata else None


def card_from_metadata(metadata: Mapping[str, str], source: str) -> ModelCard:
    """Return the card in an ONNX file's metadata; `source` names the file in errors. Raises LookonceError."""
    if CARD_KEY not in metadata:
        raise LookonceError(
            f"{source}: an ONNX file without {CARD_KEY} in its metadata (classes, anchors, input size). "
            "Expected a file written by `lookonce export`."
        )
    return ModelCard.from_json(metadata[CARD_KEY], source)


def graph_metadata(graph: onnx.ModelProto) -> dict[str, str]:
    """Return the metadata of an ONNX graph."""
    return {entry.key: entry.value for entry in graph.metadata_props}


def write_graph_card(graph: onnx.ModelProto, card: ModelCard) -> None:
    """Put `card` into the metadata of an ONNX graph; other entries stay."""
    import onnx

    onnx.helper.set_model_props(graph, {**graph_metadata(graph), CARD_KEY: card.to_json()})


def write_archive_card(file: Path, card: ModelCard) -> None:
    """Add `card` to a .keras file that has none yet."""
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CARD_KEY, card.to_json())


@contextmanager
def open_archive(file: Path) -> Iterator[zipfile.ZipFile]:
    """Open a .keras file as a zip archive.

    Raises:
        LookonceError: the file cannot be read, is not a zip archive, is damaged, or unpacks to gigabytes.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            # Checked before unpacking: a few kilobytes can unpack to any size.
            size = sum(entry.file_size for entry in archive.infolist())
            if size > _MOST_UNPACKED_BYTES:
                raise LookonceError(
                    f"{file}: unpacks to {size:,} bytes; expected at most {_MOST_UNPACKED_BYTES:,}. "
                    "This is not a model."
                )
            yield archive
    except _BROKEN_ZIP as error:
        raise LookonceError(f"{file}: not a model, or damaged ({error}). Expected a .keras file.") from error
    except OSError as error:
        raise LookonceError(f"{file}: cannot be read: {error.strerror or error}.") from error
