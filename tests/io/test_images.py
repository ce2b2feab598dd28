"""Every kind of image is read as upright uint8 RGB, or fails with one readable error."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from lookonce.errors import LookonceError
from lookonce.io.images import (
    ImageError,
    decode_image,
    image_header,
    image_size,
    list_images,
    looks_complete,
    read_image,
)


def smooth(height: int = 40, width: int = 60) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def save(path: Path, format: str = "PNG", mode: str = "RGB", **options: object) -> Path:
    Image.fromarray(smooth()).convert(mode).save(path, format, **options)
    return path


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_orientation_is_applied_in_every_format(tmp_path: Path, format: str, value: int) -> None:
    path = save(tmp_path / "turned", format, exif=orientation(value))
    with Image.open(path) as image:
        upright = image if format == "TIFF" else ImageOps.exif_transpose(image)
        expected = np.asarray(upright.convert("RGB"))
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_size(path) == expected.shape[1::-1]


def test_header_keeps_the_stored_size_and_the_orientation(tmp_path: Path) -> None:
    path = save(tmp_path / "turned.jpg", "JPEG", exif=orientation(6))
    assert image_header(path) == ((60, 40), 6, "JPEG")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, format: str) -> None:
    pixels = read_image(save(tmp_path / "grey", format, "L"))
    assert pixels.shape == (40, 60, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[..., :1]).all()


def test_channels_are_red_green_blue(tmp_path: Path) -> None:
    for name in ("red.png", "red.jpg", "red.gif"):
        Image.new("RGB", (8, 8), (250, 5, 10)).save(tmp_path / name)
        assert np.abs(read_image(tmp_path / name)[4, 4].astype(int) - (250, 5, 10)).max() <= 3


def test_palette_with_transparency_gives_the_palettes_colours(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), (200, 100, 50)).convert("P", palette=Image.Palette.ADAPTIVE)
    image.save(tmp_path / "palette.png", transparency=0)
    assert (read_image(tmp_path / "palette.png") == (200, 100, 50)).all()


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_dropped_not_composited(tmp_path: Path, format: str) -> None:
    Image.new("RGBA", (8, 8), (200, 100, 50, 128)).save(
        tmp_path / "clear", format, **{"lossless": True} if format == "WEBP" else {}
    )
    assert (read_image(tmp_path / "clear") == (200, 100, 50)).all()


def test_adobe_cmyk_jpeg_keeps_its_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "cmyk.jpg")[8, 8].tolist()
    assert red > 250
    assert max(green, blue) < 5


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_16_bit_grey_is_scaled_to_8_bit(tmp_path: Path, name: str) -> None:
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (8, 1))
    cv2.imwrite(str(tmp_path / name), ramp)
    np.testing.assert_allclose(read_image(tmp_path / name)[..., 0], ramp / 257, atol=0.51)


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_16_bit_colour_is_scaled_to_8_bit(tmp_path: Path, name: str) -> None:
    wide = smooth().astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / name), wide[..., ::-1])
    np.testing.assert_allclose(read_image(tmp_path / name), smooth(), atol=1)


def test_content_not_name_decides_the_format(tmp_path: Path) -> None:
    path = save(tmp_path / "really a png.jpg", "PNG")
    np.testing.assert_array_equal(read_image(path), smooth())
    assert image_header(path)[2] == "PNG"


def test_vott_video_frames_are_read(shared: Path) -> None:
    frames = list_images(shared / "data" / "nuts_vott_original_bytes" / "JPEGImages")
    assert len(frames) == 7
    with Image.open(frames[0]) as image:
        np.testing.assert_array_equal(read_image(frames[0]), np.asarray(image.convert("RGB")))
    assert {image_size(frame) for frame in frames} == {(1920, 1080)}


@pytest.mark.parametrize("name", ["物体 検知.jpg", "x.mp4#t=0.2.jpg", "100%25.jpg", "a&b?c=1.jpg"])
def test_unusual_file_names_are_read(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, "JPEG")
    assert read_image(path).shape == (40, 60, 3)
    assert list_images(tmp_path) == [path]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_truncated_images_name_the_file(tmp_path: Path, format: str, share: float) -> None:
    path = save(tmp_path / f"cut.{format}", format)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ImageError, match=r"cut\.") as caught:
        read_image(path)
    assert isinstance(caught.value, LookonceError)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_missing_end_marker_is_found_without_decoding(tmp_path: Path, format: str) -> None:
    path = save(tmp_path / "image", format)
    assert looks_complete(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert not looks_complete(path)


def test_damaged_png_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "damaged.png")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ImageError, match="damaged"):
        read_image(path)


@pytest.mark.parametrize("side", [20_000, 60_000])
def test_a_bomb_is_refused_from_its_header(tmp_path: Path, side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    (tmp_path / "bomb.png").write_bytes(data + b"\0\0\0\0IEND\xaeB`\x82")
    for reader in (read_image, image_size):
        with pytest.raises(ImageError, match=r"bomb\.png.*pixels.*smaller"):
            reader(tmp_path / "bomb.png")


def test_max_pixels_is_respected(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="60 x 40"):
        read_image(path, max_pixels=2000)


def test_text_and_scripts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    with pytest.raises(ImageError, match="not a readable image"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["nowhere.jpg", "a\0b.jpg"])
def test_missing_files_are_image_errors(tmp_path: Path, name: str) -> None:
    for reader in (read_image, image_size):
        with pytest.raises(ImageError, match="cannot be opened"):
            reader(tmp_path / name)
    with pytest.raises(ImageError, match="cannot be opened"):
        read_image(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_byte_flip_gives_an_image_or_an_image_error() -> None:
    random = np.random.default_rng(1)
    for format in ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(smooth()).save(buffer, format)
        for _ in range(60):
            data = bytearray(buffer.getvalue())
            for place in random.integers(0, min(len(data), 400), 4):
                data[place] = int(random.integers(0, 256))
            try:
                pixels = decode_image(bytes(data), "flipped")
            except ImageError:
                continue
            assert pixels.dtype == np.uint8
            assert pixels.shape[2:] == (3,)


def test_list_images_accepts_folder_file_and_pattern(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a[1].jpg", "JPEG"), save(tmp_path / "B.PNG")
    (tmp_path / "notes.txt").write_text("no image")
    assert list_images(tmp_path) == sorted([first, second])
    assert list_images(first) == [first]
    assert list_images(str(tmp_path / "*.jpg")) == [first]
    with pytest.raises(ImageError, match="no images found"):
        list_images(tmp_path / "*.webp")
