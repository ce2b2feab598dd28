"""Image reading: any ordinary file to upright uint8 RGB, or one readable error."""

from __future__ import annotations

import glob
import io
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from lookonce.errors import LookonceError

Pixels = NDArray[np.uint8]

SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".webp",
    ".ppm",
    ".pgm",
)
# Pillow reads far more, some of it (EPS) by running other programs. TIFF and WebP register when imported.
_TIFF, _WEBP = TiffImagePlugin.TiffImageFile.format, WebPImagePlugin.WebPImageFile.format
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", _TIFF, _WEBP)
MAX_PIXELS = 89_478_485  # where Pillow starts to warn of a decompression bomb
_MAX_BYTES = 2**30  # more than MAX_PIXELS take as uncompressed 16-bit RGBA

# Larger images are refused below with a message; the warning would be noise.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
_PNG = b"\x89PNG\r\n\x1a\n"
# What Pillow raises for broken files, found by feeding it truncated and altered ones.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
)


class ImageError(LookonceError):
    """An image is missing, unreadable, truncated or too large; the message names it and the fix."""


class TooManyPixelsError(ImageError):
    """An image has more pixels than allowed."""


def read_image(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode a file to uint8 RGB (height, width, 3); the content decides the format, not the name.

    The EXIF orientation is applied. Transparency is dropped, not composited: the colour values are used as
    they are stored, as Darknet and OpenCV do. 16-bit values 0..65535 are scaled to 0..255. CMYK follows
    Adobe's inverted convention. Of an animation, the first frame is read.

    Args:
        path: the image file.
        max_pixels: largest allowed width times height.

    Raises:
        ImageError: missing, not an image, truncated, or more than `max_pixels`.

    Example:
        >>> Image.new("RGB", (4, 2), (255, 0, 0)).save("red.png")
        >>> image = read_image("red.png")
        >>> image.shape, image[0, 0].tolist()
        ((2, 4, 3), [255, 0, 0])
    """
    try:
        size = os.stat(path).st_size
        data = Path(path).read_bytes() if size <= _MAX_BYTES else b""
    except (OSError, ValueError) as error:
        raise _missing(path, error) from error
    if size > _MAX_BYTES:
        raise ImageError(f"{path}: {size:,} bytes, too large for an image; check the file")
    return decode_image(data, str(path), max_pixels)


def decode_image(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode bytes as `read_image` does; `name` is the image's name in errors."""
    with _open(io.BytesIO(data), name) as image:
        _refuse_bomb(image.size, name, max_pixels)
        orientation = _orientation(image, io.BytesIO(data))
        pixels = _fast(data, image) if _ordinary(data, image) else None
        if pixels is None:
            pixels = _slow(image, name)
    return _upright(pixels, orientation)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (width, height) after the EXIF orientation, from the header alone.

    Raises:
        ImageError: missing, or not an image.
    """
    (width, height), orientation, _ = image_header(path)
    return (height, width) if orientation in _SIDEWAYS else (width, height)


def image_header(path: str | os.PathLike[str]) -> tuple[tuple[int, int], int, str]:
    """Return the stored (width, height), the EXIF orientation 1..8, and the format such as "JPEG"."""
    try:
        with open(path, "rb") as file, _open(file, str(path)) as image:
            _refuse_bomb(image.size, str(path), MAX_PIXELS)
            return (
                image.size,
                _orientation(image, file),
                "JPEG" if image.format == "MPO" else str(image.format),
            )
    except (OSError, ValueError) as error:
        raise _missing(path, error) from error


def looks_complete(path: str | os.PathLike[str]) -> bool:
    """Return False for a JPEG or PNG without end marker: only decoding shows whether it is truncated."""
    with open(path, "rb") as file:
        start = file.read(8)
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 64))
        return _ends_well(start, file.read())


def list_images(folder_or_glob: str | os.PathLike[str]) -> list[Path]:
    """List the images directly in a folder, matching a glob pattern, or the single file; sorted by name.

    Raises:
        ImageError: no image found.
    """
    place = Path(folder_or_glob)
    if place.is_dir():
        found = [path for path in place.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()]
    elif place.is_file():  # before globbing: a name may itself hold [ or *
        found = [place]
    else:
        matches = map(Path, glob.glob(os.fspath(folder_or_glob), recursive=True))
        found = [path for path in matches if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not found:
        raise ImageError(
            f"{folder_or_glob}: no images found; expected an image, a folder of them or a pattern such as "
            f"'photos/*.jpg', with one of the endings {' '.join(SUFFIXES)}"
        )
    return sorted(found)


def _missing(path: str | os.PathLike[str], error: Exception) -> ImageError:
    reason = getattr(error, "strerror", None) or str(error)
    return ImageError(f"{path}: cannot be opened ({reason}); check the name and the permissions")


def _open(file: BinaryIO, name: str) -> Image.Image:
    try:
        return Image.open(file, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"{name}: far too many pixels ({error}); make it smaller") from error
    except UnidentifiedImageError as error:
        file.seek(0)
        start = file.read(16)
        found = f"it begins with {start!r}" if start else "the file is empty"
        raise ImageError(
            f"{name}: not a readable image ({found}); expected JPEG, PNG, BMP, GIF, TIFF, WebP or PPM. "
            "Save it again as JPEG or PNG, or copy it again if it is damaged"
        ) from error
    except _BROKEN as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name}: truncated or damaged ({error}); copy or export it again")


def _refuse_bomb(size: tuple[int, int], name: str, max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise TooManyPixelsError(
            f"{name}: {size[0]} x {size[1]} pixels is more than the {max_pixels:,} allowed; "
            "make the image smaller or cut it into tiles"
        )


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield each chunk's type and length, with the file positioned at its data."""
    position = len(_PNG)
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header)
        yield kind, length
        position += length + 12


def _orientation(image: Image.Image, file: BinaryIO) -> int:
    """Return the EXIF orientation, 1 by default, without decoding pixels."""
    if image.format == "TIFF":
        return 1  # Pillow turns TIFF upright by itself
    try:
        if image.format == "PNG":
            # Pillow's getexif() would decode the whole PNG to look for a chunk behind the pixels.
            exif = Image.Exif()
            for kind, length in _png_chunks(file):
                if kind == b"eXIf":
                    exif.load(b"Exif\0\0" + file.read(length))
        else:
            exif = image.getexif()
        value = int(exif.get(_ORIENTATION, 1))
    except _BROKEN:
        return 1  # damaged EXIF does not make the image unreadable
    return value if 1 <= value <= 8 else 1


def _ends_well(start: bytes, end: bytes) -> bool:
    if start.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in end[-64:]
    return not start.startswith(_PNG) or b"IEND" in end[-64:]


def _ordinary(data: bytes, image: Image.Image) -> bool:
    """Return whether OpenCV decodes this as Pillow does: complete 8-bit grey or RGB(A), JPEG or PNG."""
    if not _ends_well(data[:8], data[-64:]):
        return False  # OpenCV silently fills the missing part with grey; Pillow raises
    if image.format == "PNG":
        return data[24:25] == b"\x08" and data[25:26] in (b"\x00", b"\x02", b"\x06")
    return image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")


def _fast(data: bytes, image: Image.Image) -> Pixels | None:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None or pixels.shape[:2] != image.size[::-1]:
        return None
    return pixels.astype(np.uint8, copy=False)


def _slow(image: Image.Image, name: str) -> Pixels:
    try:
        image.load()
        if image.mode.startswith("I"):
            return _from_16_bit(np.asarray(image), name)
        if image.mode == "F":
            raise ImageError(f"{name}: holds floating-point values; save it as an 8-bit or 16-bit image")
        return np.array(image.convert("RGB"))
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"{name}: far too many pixels ({error}); make it smaller") from error
    except MemoryError as error:
        raise ImageError(f"{name}: does not fit in memory; make the image smaller") from error
    except _BROKEN as error:
        raise _damaged(name, error) from error


def _from_16_bit(values: NDArray[np.generic], name: str) -> Pixels:
    wide = values.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > 65535):
        raise ImageError(f"{name}: holds values outside 0..65535; save it as an 8-bit or 16-bit image")
    grey = ((wide + 128) // 257).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo the camera's rotation (EXIF 2.32, tag 0x0112: where the stored row 0 and column 0 belong)."""
    if orientation in _SIDEWAYS:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
