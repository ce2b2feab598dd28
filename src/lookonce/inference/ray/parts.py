"""The output folder of a large run: Parquet parts, written atomically.

A part's rejects are written before its results, so a part with results is finished. Its name is a hash of its
images, and a resumed run splits the remaining images as before. A part that is repeated, or still being
written for a driver that was killed, therefore produces the same rows under the same name.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lookonce.core.detections import Detections
from lookonce.errors import LookonceError
from lookonce.inference.ray.folders import Folder, error_text, open_folder
from lookonce.io.parallel import parallel_map

_BOX = pa.struct(
    [pa.field("label", pa.string(), nullable=False)]
    + [pa.field(name, pa.float32(), nullable=False) for name in ("score", "left", "top", "right", "bottom")]
)
# Corners in pixels of the upright image, origin at the top left; best score first.
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


def results_file(results: Sequence[tuple[str, Detections]]) -> bytes:
    """Encode a results file from the name and Detections of each image."""
    return _content(pa.Table.from_pylist([_row(*result) for result in results], RESULTS))


def rejects_file(rejects: Sequence[tuple[str, str]]) -> bytes:
    """Encode a rejects file from the name of each image and the reason."""
    return _content(pa.Table.from_arrays([[one[at] for one in rejects] for at in (0, 1)], schema=REJECTS))


def names_in(content: bytes) -> list[str]:
    """Return the image names in a results or rejects file. Raises pyarrow's errors and KeyError."""
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


_RUN = "run.json"
_RESULTS, _REJECTS = "results", "rejects"
_READERS = 16


class Parts:
    """`results/` (one row per image, boxes in pixels) and `rejects/` below a folder or URL."""

    def __init__(self, address: str) -> None:
        """Open the folder without writing to it. Raises LookonceError for an unusable address."""
        self.address = address
        self._folder: Folder = open_folder(address)

    def claim(self, run: dict[str, Any], part_images: int) -> int:
        """Start this run in the folder, or resume it; return the number of images per part.

        Raises LookonceError if the folder has results of another run.
        """
        if not self._folder.exists(_RUN):
            if self._folder.names(_RESULTS):
                raise LookonceError(
                    f"{self.address}: has {_RESULTS}/, but no {_RUN} that identifies the run. Choose another "
                    "output folder."
                )
            text = json.dumps({**run, "part_images": part_images}, indent=1, sort_keys=True)
            self._folder.write(_RUN, text.encode())
            return part_images
        before = self._read_run()
        changed = [
            f"{key} differ: {before.get(key)} before, {value} now"
            for key, value in sorted(run.items())
            if before.get(key) != value
        ]
        if changed:
            raise LookonceError(
                f"{self.address}: has results of another run ({'; '.join(changed)}). Choose another output "
                "folder, or repeat the original command."
            )
        return int(before["part_images"])

    def done(self) -> frozenset[str]:
        """Return the image names of finished parts; delete leftovers of others. Raises LookonceError."""
        results, rejects = self._names(_RESULTS), self._names(_REJECTS)
        for name in rejects - results:
            self._folder.remove(f"{_REJECTS}/{name}")
        files = [f"{_RESULTS}/{name}" for name in sorted(results)]
        files += [f"{_REJECTS}/{name}" for name in sorted(rejects & results)]
        read = parallel_map(self._images_of, files, _READERS)
        return frozenset().union(*(names.result() for _, names in read))

    def has(self, name: str) -> bool:
        """Return whether that part's results are visible from this machine. Raises LookonceError."""
        return self._folder.exists(f"{_RESULTS}/{name}")

    def write(self, keys: Sequence[str], outcomes: Sequence[tuple[str, Detections | str]]) -> tuple[int, int]:
        """Write the part of `keys`; return its numbers of objects and rejects.

        `outcomes` has each image's name with its Detections, or with the reason why it was rejected. Raises
        LookonceError.
        """
        name = part_name(keys)
        results = [(key, one) for key, one in outcomes if not isinstance(one, str)]
        rejects = [(key, one) for key, one in outcomes if isinstance(one, str)]
        if rejects:
            self._folder.write(f"{_REJECTS}/{name}", rejects_file(rejects))
        self._folder.write(f"{_RESULTS}/{name}", results_file(results))
        return sum(len(one) for _, one in results), len(rejects)

    def clear_leftovers(self) -> None:
        """Delete temporary files of killed writers, once no writer runs. Raises LookonceError."""
        for folder in (_RESULTS, _REJECTS):
            for name in self._folder.names(folder):
                if name.startswith(".part-"):
                    self._folder.remove(f"{folder}/{name}")

    def _names(self, folder: str) -> set[str]:
        names = self._folder.names(folder)
        return {name for name in names if name.startswith("part-") and name.endswith(".parquet")}

    def _images_of(self, file: str) -> list[str]:
        try:
            return names_in(self._folder.read(file))
        # Errors of stores and of pyarrow share no base class but Exception.
        except Exception as error:
            raise LookonceError(
                f"{self.address}/{file}: cannot be read ({error_text(error)}). Delete it if damaged; "
                "the same command then processes its images again."
            ) from error

    def _read_run(self) -> dict[str, Any]:
        try:
            before = json.loads(self._folder.read(_RUN))
            if int(before["part_images"]) < 1:
                raise ValueError(f"part_images is {before['part_images']}")
        except Exception as error:
            raise LookonceError(
                f"{self.address}/{_RUN}: invalid run record ({type(error).__name__}: {error_text(error)}). "
                "Choose another output folder."
            ) from error
        return dict(before)


def part_name(keys: Sequence[str]) -> str:
    """Return the file name of the part with these images, the same in both folders."""
    return f"part-{hashlib.sha256(chr(0).join(keys).encode()).hexdigest()[:24]}.parquet"
