"""The output folder of a large run: Parquet parts that are there whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
from collections.abc import Sequence
from typing import Any

import fsspec
import pyarrow
from pyarrow import parquet

from lookonce.detections import Detections
from lookonce.errors import LookonceError

_BOX = pyarrow.struct(
    [("label", pyarrow.string())]
    + [(name, pyarrow.float32()) for name in ("score", "left", "top", "right", "bottom")]
)
RESULTS = pyarrow.schema(
    [
        ("filename", pyarrow.string()),
        ("width", pyarrow.int32()),
        ("height", pyarrow.int32()),
        ("boxes", pyarrow.list_(_BOX)),
    ]
)
REJECTS = pyarrow.schema([("filename", pyarrow.string()), ("reason", pyarrow.string())])


class Parts:
    """`results/` (a row a picture, boxes in its pixels) and `rejects/` below `address`, a folder or URL.

    A part's name comes from the pictures in it: written twice, by a batch that ran twice, it is one part.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._files, root = fsspec.core.url_to_fs(address)
        self._root = root.rstrip("/")

    def claim(self, run: dict[str, Any]) -> None:
        """Make the folder this run's, or go on with it. Raises LookonceError where another run's lies."""
        path = posixpath.join(self._root, "run.json")
        text = json.dumps(run, indent=1, sort_keys=True)
        if not self._files.exists(path):
            self._write(path, text.encode())
            return
        before = json.loads(self._files.cat_file(path))
        changed = [key for key in run if before.get(key) != run[key]]
        if changed:
            raise LookonceError(
                f"{self.address}: holds results of another run ({', '.join(sorted(changed))} differ). "
                "Name another folder with --output, or repeat the command that began it."
            )

    def done(self) -> set[str]:
        """File names in the finished parts."""
        names: set[str] = set()
        for folder in ("results", "rejects"):
            for path in self._files.glob(posixpath.join(self._root, folder, "part-*.parquet")):
                with self._files.open(path, "rb") as file:
                    names.update(parquet.read_table(file, columns=["filename"])["filename"].to_pylist())
        return names

    def write(self, answers: Sequence[tuple[str, Detections | str]]) -> tuple[int, int]:
        """Write one part; an answer is Detections, or the reason why there are none.

        Returns how many objects and how many rejects it holds.
        """
        keys = "\n".join(sorted(name for name, _ in answers)).encode()
        name = f"part-{hashlib.sha256(keys).hexdigest()[:24]}.parquet"
        rejects = [{"filename": key, "reason": one} for key, one in answers if isinstance(one, str)]
        results = [_row(key, one) for key, one in answers if not isinstance(one, str)]
        # The rejects first: a run that ends in between looks at the results' pictures again, and no more.
        for folder, rows, schema in (("rejects", rejects, REJECTS), ("results", results, RESULTS)):
            if rows:
                table = pyarrow.Table.from_pylist(rows, schema=schema)
                buffer = io.BytesIO()
                parquet.write_table(table, buffer)
                self._write(posixpath.join(self._root, folder, name), buffer.getvalue())
        return sum(len(row["boxes"]) for row in results), len(rejects)

    def _write(self, path: str, content: bytes) -> None:
        folder, name = posixpath.split(path)
        self._files.makedirs(folder, exist_ok=True)
        if "file" not in self._files.protocol:
            # An object appears whole, with the request that ends its upload.
            self._files.pipe_file(path, content)
            return
        # Renamed when it is whole; no reader's pattern matches the first name.
        temporary = posixpath.join(folder, f".{name}.{hashlib.sha256(content).hexdigest()[:8]}")
        self._files.pipe_file(temporary, content)
        self._files.mv(temporary, path)


def _row(name: str, found: Detections) -> dict[str, Any]:
    corners = ("left", "top", "right", "bottom")
    boxes = [
        {
            "label": found.names[label],
            "score": float(score),
            **dict(zip(corners, map(float, box), strict=True)),
        }
        for box, score, label in zip(found.boxes, found.scores, found.classes, strict=True)
    ]
    width, height = found.image_size
    return {"filename": name, "width": width, "height": height, "boxes": boxes}
