"""Where drawn copies of pictures go, and their writing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lookonce.errors import LookonceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What Pillow writes as well as it reads; a picture of another format is drawn on a JPEG.
_WRITTEN = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def common_folder(pictures: list[Path]) -> Path:
    """The folder that all pictures are in or below."""
    return Path(os.path.commonpath([path.absolute().parent for path in pictures]))


def names_of(pictures: list[Path]) -> dict[Path, str]:
    """What each picture is called: its path below the folder that all have in common, with slashes."""
    root = common_folder(pictures)
    return {path: path.absolute().relative_to(root).as_posix() for path in pictures}


def targets(pictures: list[Path], output: Path) -> dict[Path, Path]:
    """Where each picture's drawn copy goes: a file's name for one, a folder for any number.

    Raises LookonceError for one file and several pictures, for two with one target, and for a target that is
    itself a picture to be read.
    """
    if output.suffix.lower() in _WRITTEN and not output.is_dir():
        if len(pictures) > 1:
            raise LookonceError(
                f"--output {output} is one file, {len(pictures)} pictures given; name a folder."
            )
        found = {pictures[0]: output}
    else:
        found = {path: output / _written_name(Path(name)) for path, name in names_of(pictures).items()}
    sources = {path.resolve() for path in pictures}
    taken: dict[Path, Path] = {}
    for path, target in found.items():
        if target.resolve() in sources:
            raise LookonceError(f"--output {output} would overwrite {target}; choose another folder.")
        if taken.setdefault(target, path) != path:
            raise LookonceError(f"{taken[target]} and {path} would both be drawn as {target}; rename one.")
    return found


def write_drawn(drawn: NDArray[np.uint8], target: Path) -> None:
    """Write uint8 RGB (h, w, 3) in the format that the name says. Raises LookonceError."""
    from PIL import Image

    from lookonce.io.atomic import atomic_file

    with atomic_file(target) as temporary:
        Image.fromarray(drawn).save(temporary, quality=92)


def _written_name(name: Path) -> Path:
    return name if name.suffix.lower() in _WRITTEN else name.with_name(f"{name.name}.jpg")
