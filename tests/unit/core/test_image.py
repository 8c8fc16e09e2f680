"""Hard image files, all made here with Pillow."""

from __future__ import annotations

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from negscale.core.image import ImageError, decode, encode

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def saved(picture: Pillow.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def corners() -> np.ndarray:
    """uint8[32, 48, 3]: red top left, green top right, blue bottom left, white bottom right."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24], pixels[:16, 24:], pixels[16:, :24], pixels[16:, 24:] = RED, GREEN, BLUE, WHITE
    return pixels


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def near(pixel: np.ndarray, colour: tuple[int, int, int], within: int = 12) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= within)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF", "PPM", "JPEG"])
def test_plain_formats_keep_the_pixels(format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    image = decode(saved(Pillow.fromarray(corners()), format, **options))
    assert image.dtype == np.uint8
    assert image.shape == (32, 48, 3)
    assert image.flags.writeable
    assert np.abs(image.astype(int) - corners()).mean() < (0.01 if format != "JPEG" else 6)


def test_png_round_trip_is_exact_and_jpeg_is_close() -> None:
    assert np.array_equal(decode(encode(corners())), corners())
    assert np.abs(decode(encode(corners(), "jpeg")).astype(int) - corners()).mean() < 6


def test_cmyk_jpeg_becomes_rgb() -> None:
    image = decode(saved(Pillow.fromarray(corners()).convert("CMYK"), "JPEG", quality=95, subsampling=0))
    assert near(image[4, 4], RED)
    assert near(image[4, 44], GREEN)
    assert near(image[28, 4], BLUE)
    assert near(image[28, 44], WHITE)


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    image = decode(saved(Pillow.fromarray(grey), "PNG"))
    assert np.abs(image[..., 0].astype(int) - grey // 257).max() == 0
    assert 120 < image[32, 32, 0] < 135  # clipping at 255 would make it white


def test_16_bit_rgb_png() -> None:
    row = b"\0" + struct.pack(">3H", 65535, 32768, 0) * 4
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 2, 16, 2, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(row * 2)) + chunk(b"IEND", b"")
    assert near(decode(data)[1, 3], (255, 128, 0), within=1)


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_bilevel_and_palette(mode: str) -> None:
    source = Pillow.fromarray(corners()).convert(mode)
    assert np.array_equal(decode(saved(source, "PNG")), np.asarray(source.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_composited_on_white(mode: str) -> None:
    picture = Pillow.new("RGBA", (8, 8), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 4, 8))
    picture.paste((0, 0, 0, 128), (4, 0, 8, 4))
    image = decode(saved(picture.convert(mode), "PNG"))
    assert near(image[4, 1], (0, 0, 0), 0)
    assert near(image[6, 6], WHITE, 0)
    assert near(image[1, 6], (127, 127, 127), 1)


def test_transparent_palette_and_colour_key() -> None:
    palette = Pillow.fromarray(corners()).convert("P", palette=Pillow.Palette.ADAPTIVE, colors=4)
    key = int(np.asarray(palette)[4, 4])
    assert near(decode(saved(palette, "PNG", transparency=key))[4, 4], WHITE, 0)
    assert near(decode(saved(Pillow.fromarray(corners()), "PNG", transparency=RED))[4, 4], WHITE, 0)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_animations_give_their_first_frame(format: str) -> None:
    frames = [Pillow.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], duration=50, **options)
    assert near(decode(data)[8, 8], RED, 2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int) -> None:
    """The stored pixels are turned by the inverse of what EXIF asks for; decoding must give the upright picture."""
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow.Transpose numbers of the inverses
    stored = Pillow.fromarray(corners())
    if (turn := undo[orientation]) is not None:
        stored = stored.transpose(Pillow.Transpose(turn))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    image = decode(saved(stored, "JPEG", exif=exif, quality=95, subsampling=0))
    assert image.shape == (32, 48, 3)
    assert near(image[4, 4], RED)
    assert near(image[4, 44], GREEN)
    assert near(image[28, 4], BLUE)
    assert near(image[28, 44], WHITE)


def test_damaged_exif_does_not_cost_the_picture() -> None:
    data = saved(Pillow.fromarray(corners()), "JPEG", exif=b"Exif\0\0" + b"\xff" * 40, quality=95, subsampling=0)
    assert near(decode(data)[4, 4], RED)


def kind_of(data: bytes, **options: int) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, **options)
    return caught.value.kind


def test_zero_bytes_and_strangers() -> None:
    assert kind_of(b"") == "empty_image"
    assert kind_of(b"<html>404 not found</html>") == "unreadable_image"
    assert kind_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "unreadable_image"  # EPS starts a program


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_truncated_files_never_decode(format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = saved(Pillow.fromarray(noise), format)
    assert decode(data).shape == (64, 64, 3)
    for share in (0.3, 0.6, 0.9):
        assert kind_of(data[: int(len(data) * share)]) in ("truncated_image", "unreadable_image")
    if format in ("JPEG", "PNG"):
        assert kind_of(data[: len(data) // 2]) == "truncated_image"


def test_flipped_bytes_give_pixels_or_an_image_error() -> None:
    rng = np.random.default_rng(1)
    for format in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        data = saved(Pillow.fromarray(corners()), format)
        for _ in range(150):
            damaged = bytearray(data)
            for at in rng.integers(0, len(data), 3):
                damaged[at] = rng.integers(0, 256)
            try:
                image = decode(bytes(damaged), max_pixels=1_000_000)
            except ImageError:
                continue  # the only exception that may come
            assert image.dtype == np.uint8


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100_000)))


@pytest.mark.parametrize("side", [60_000, 10_000, 8_001])
def test_bombs_are_refused_by_their_header(side: int) -> None:
    assert kind_of(bomb(side, side)) == "oversized_image"


def test_the_limit_counts_pixels() -> None:
    data = encode(corners())
    assert decode(data, max_pixels=32 * 48).shape == (32, 48, 3)
    assert kind_of(data, max_pixels=32 * 48 - 1) == "oversized_image"


def test_float_pixels_are_refused() -> None:
    assert kind_of(saved(Pillow.fromarray(np.ones((4, 4), np.float32)), "TIFF")) == "unreadable_image"


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(ImageError("storage_error", "no answer")))  # noqa: S301 - our own object
    assert (error.kind, str(error), error.retryable) == ("storage_error", "no answer", True)
    assert not ImageError("empty_image", "x").retryable
