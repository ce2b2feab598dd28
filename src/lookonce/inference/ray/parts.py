"""The output folder of a large run: Parquet parts that are there whole or not at all.

A part is written as rejects first and results last: where its results are, it is finished. Its name comes
of its images, and images that remain are cut where they were cut before. So whoever makes a part again,
or still makes it for a driver that was killed, writes the same rows under the same name.
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


_RUN = "run.json"
_RESULTS, _REJECTS = "results", "rejects"
_READERS = 16


class Parts:
    """`results/` (a row an image, boxes in its pixels) and `rejects/` below `address`, a folder or URL."""

    def __init__(self, address: str) -> None:
        """Nothing is written yet. Raises LookonceError for an address that can't be used."""
        self.address = address
        self._folder: Folder = open_folder(address)

    def claim(self, run: dict[str, Any], part_images: int) -> int:
        """Make the folder this run's, or go on with it; answers how many images its parts have.

        Raises LookonceError where another run's results lie.
        """
        if not self._folder.exists(_RUN):
            if self._folder.names(_RESULTS):
                raise LookonceError(
                    f"{self.address}: has {_RESULTS}/, but no {_RUN} that says of which run. "
                    "Name another folder with --output."
                )
            text = json.dumps({**run, "part_images": part_images}, indent=1, sort_keys=True)
            self._folder.write(_RUN, text.encode())
            return part_images
        before = self._read_run()
        changed = [
            f"{key} differ: {before.get(key)} then, {value} now"
            for key, value in sorted(run.items())
            if before.get(key) != value
        ]
        if changed:
            raise LookonceError(
                f"{self.address}: holds results of another run ({'; '.join(changed)}). "
                "Name another folder with --output, or repeat the command that began it."
            )
        return int(before["part_images"])

    def done(self) -> frozenset[str]:
        """File names in the finished parts; what unfinished ones left is deleted. Raises LookonceError."""
        results, rejects = self._names(_RESULTS), self._names(_REJECTS)
        for name in rejects - results:
            self._folder.remove(f"{_REJECTS}/{name}")
        files = [f"{_RESULTS}/{name}" for name in sorted(results)]
        files += [f"{_REJECTS}/{name}" for name in sorted(rejects & results)]
        read = parallel_map(self._images_of, files, _READERS)
        return frozenset().union(*(names.result() for _, names in read))

    def has(self, name: str) -> bool:
        """Whether that part's results can be seen from here. Raises LookonceError."""
        return self._folder.exists(f"{_RESULTS}/{name}")

    def write(self, keys: Sequence[str], answers: Sequence[tuple[str, Detections | str]]) -> tuple[int, int]:
        """Write the part of `keys`; an answer is Detections, or the reason why there are none.

        Returns how many objects and how many rejects it holds. Raises LookonceError.
        """
        name = part_name(keys)
        found = [(key, one) for key, one in answers if not isinstance(one, str)]
        rejects = [(key, one) for key, one in answers if isinstance(one, str)]
        if rejects:
            self._folder.write(f"{_REJECTS}/{name}", rejects_file(rejects))
        self._folder.write(f"{_RESULTS}/{name}", results_file(found))
        return sum(len(one) for _, one in found), len(rejects)

    def clear_leftovers(self) -> None:
        """Delete what killed writers left; for when nobody writes any more. Raises LookonceError."""
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
        # Stores and pyarrow raise errors of their own that share no base but Exception.
        except Exception as error:
            raise LookonceError(
                f"{self.address}/{file}: can't be read ({error_text(error)}). Delete it if damaged; the same "
                "command then looks at its images again."
            ) from error

    def _read_run(self) -> dict[str, Any]:
        try:
            before = json.loads(self._folder.read(_RUN))
            if int(before["part_images"]) < 1:
                raise ValueError(f"part_images is {before['part_images']}")
        except Exception as error:
            raise LookonceError(
                f"{self.address}/{_RUN}: no run's record ({type(error).__name__}: {error_text(error)}). "
                "Name another folder with --output."
            ) from error
        return dict(before)


def part_name(keys: Sequence[str]) -> str:
    """The file name of the part that answers these images, the same in both folders."""
    return f"part-{hashlib.sha256(chr(0).join(keys).encode()).hexdigest()[:24]}.parquet"
