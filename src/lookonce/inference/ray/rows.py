"""What a run writes: Parquet, a row an image, in parts of many images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lookonce.core.detections import Detections

_BOX = pa.struct(
    [pa.field("label", pa.string(), nullable=False)]
    + [pa.field(name, pa.float32(), nullable=False) for name in ("score", "left", "top", "right", "bottom")]
)
# Corners in pixels of the upright image, origin at its top left; the best score first.
RESULTS = pa.schema(
    [
        pa.field("filename", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("boxes", pa.list_(pa.field("box", _BOX, nullable=False)), nullable=False),
    ]
)
REJECTS = pa.schema(
    [pa.field("filename", pa.string(), nullable=False), pa.field("reason", pa.string(), nullable=False)]
)


def results_file(answers: Sequence[tuple[str, Detections]]) -> bytes:
    """A results file's content: name and Detections of each image."""
    return _content(pa.Table.from_pylist([_row(*answer) for answer in answers], RESULTS))


def rejects_file(rejects: Sequence[tuple[str, str]]) -> bytes:
    """A rejects file's content: name and reason of each image."""
    return _content(pa.Table.from_arrays([[one[at] for one in rejects] for at in (0, 1)], schema=REJECTS))


def names_in(content: bytes) -> list[str]:
    """The images in a results or rejects file. Raises pyarrow's errors and KeyError for other files."""
    table = pq.read_table(io.BytesIO(content), columns=["filename"])
    return [str(name) for name in table.column("filename").to_pylist()]


def _row(filename: str, found: Detections) -> dict[str, Any]:
    width, height = found.image_size
    corners = ("left", "top", "right", "bottom")
    boxes = [
        {"label": found.names[label], "score": score, **dict(zip(corners, box, strict=True))}
        for box, score, label in zip(
            found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True
        )
    ]
    return {"filename": filename, "width": width, "height": height, "boxes": boxes}


def _content(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
