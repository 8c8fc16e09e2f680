from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from negscale.core.image import ImageError, decode
from negscale.core.image_header import size_px, sniff

PIXELS = np.random.default_rng(1).integers(0, 256, (30, 50, 3), dtype=np.uint8)
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "AVIF": "avif"}


def file_of(format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(PIXELS, "RGB").save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", EXTENSIONS)
def test_formats_and_sizes(format: str) -> None:
    data = file_of(format)
    assert sniff(data[:16]) == EXTENSIONS[format]
    assert size_px(data) == (30, 50) == decode(data).shape[:2]


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"comment": b"x" * 5000}, {"icc_profile": b"\xff\xc0" * 99}]
)
def test_jpeg_kinds(options: dict[str, Any]) -> None:
    assert size_px(file_of("JPEG", **options)) == (30, 50)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_sizes_are_upright_as_decoded(format: str, orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = file_of(format, exif=exif)
    assert size_px(data) == decode(data).shape[:2] == ((50, 30) if orientation > 4 else (30, 50))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8\xff", b"<html>", b"%PDF-1.7", b"<svg xmlns='x'/>", b"RIFF\0\0\0\0WAVE", b"\0\0\0\x18ftypmp42"],
)
def test_what_is_no_image(data: bytes) -> None:
    with pytest.raises(ImageError):
        size_px(data)
    if data[:3] != b"\xff\xd8\xff":
        assert sniff(data) is None


@pytest.mark.filterwarnings("ignore")  # the library says much about damaged files
def test_damaged_headers_raise_nothing_but_image_errors() -> None:
    draw = random.Random(7)
    for format in EXTENSIONS:
        data = file_of(format)
        for _ in range(300):
            broken = bytearray(data[: draw.randrange(1, len(data))])
            for _ in range(draw.randrange(4)):
                broken[draw.randrange(min(len(broken), 200))] = draw.randrange(256)
            try:
                height, width = size_px(bytes(broken))
            except ImageError:
                continue
            assert height > 0
            assert width > 0
