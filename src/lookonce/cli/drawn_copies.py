"""Choose the files of annotated copies of images, and write them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lookonce.errors import LookonceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Formats that Pillow reads and writes; copies of other images are written as JPEG.
_WRITTEN = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def common_folder(images: list[Path]) -> Path:
    """Return the deepest folder that contains all images."""
    return Path(os.path.commonpath([path.absolute().parent for path in images]))


def names_of(images: list[Path]) -> dict[Path, str]:
    """Map each image to its path below the common folder, with slashes."""
    root = common_folder(images)
    return {path: path.absolute().relative_to(root).as_posix() for path in images}


def targets(images: list[Path], output: Path) -> dict[Path, Path]:
    """Map each image to the file of its annotated copy; `output` is a folder, or a file for one image.

    Raises LookonceError for one file and several images, for two images with the same target, and for a
    target that is itself a source image.
    """
    if output.suffix.lower() in _WRITTEN and not output.is_dir():
        if len(images) > 1:
            raise LookonceError(
                f"--output {output} is one file, but there are {len(images)} images; choose a folder."
            )
        found = {images[0]: output}
    else:
        found = {path: output / _written_name(Path(name)) for path, name in names_of(images).items()}
    sources = {path.resolve() for path in images}
    taken: dict[Path, Path] = {}
    for path, target in found.items():
        if target.resolve() in sources:
            raise LookonceError(f"--output {output} would overwrite {target}; choose another folder.")
        if taken.setdefault(target, path) != path:
            raise LookonceError(f"{taken[target]} and {path} would both be written to {target}; rename one.")
    return found


def write_drawn(drawn: NDArray[np.uint8], target: Path) -> None:
    """Write uint8 RGB (h, w, 3) in the format of the suffix. Raises LookonceError."""
    from PIL import Image

    from lookonce.io.atomic import atomic_file

    with atomic_file(target) as temporary:
        Image.fromarray(drawn).save(temporary, quality=92)


def _written_name(name: Path) -> Path:
    return name if name.suffix.lower() in _WRITTEN else name.with_name(f"{name.name}.jpg")
