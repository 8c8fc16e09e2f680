"""What the first bytes of an image file say: its format and size. No pixel is decoded.

A server's content type is a claim; the magic bytes decide (WHATWG "MIME Sniffing", section 6.1, and ISO 23008-12 for
AVIF). Formats are those of `negscale.core.image`: SVG, PDF and HTML pages that pose as images are no images here.
"""

from __future__ import annotations

import io

from PIL import Image as Pillow

from negscale.core.image import DAMAGE, FORMATS, ORIENTATION, ImageError

MAGIC_BYTES = 16  # as many as `sniff` looks at
_AVIF = (b"avif", b"avis", b"mif1", b"msf1")
_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that swap height and width


def sniff(head: bytes) -> str | None:
    """File extension of the format whose magic bytes `head` begins with; None when it is no image that can be read.

    >>> sniff(b"GIF89a....")
    'gif'
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"BM"):
        return "bmp"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "tif"
    if head[4:8] == b"ftyp" and head[8:12] in _AVIF:
        return "avif"
    return None


def size_px(data: bytes) -> tuple[int, int]:
    """(height, width) in pixels, upright, as `decode` gives them. Raises ImageError when there is no whole header."""
    if (plain := _plain_jpeg_size(data)) is not None:
        return plain
    try:
        with Pillow.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            try:
                turned = picture.getexif().get(ORIENTATION, 1) in _TRANSPOSED
            except DAMAGE:  # a damaged EXIF block says nothing about the pixels
                turned = False
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise ImageError("oversized_image", str(error)) from None
    except DAMAGE as error:  # UnidentifiedImageError is an OSError
        raise ImageError("unreadable_image", f"{type(error).__name__}: {error}") from None
    return (width, height) if turned else (height, width)


def _plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of a JPEG without EXIF, by its segments (ITU-T T.81, annex B); None: ask the library.

    Most files of the web are such, and a fetcher looks at each: this is a tenth of the library's time.
    """
    if not data.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xC2:  # baseline, extended, progressive
            height, width = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
            return (height, width) if height and width and data[at + 4] == 8 else None
        if marker == 0xE1 or not (0xC4 <= marker <= 0xFE) or marker in (0xD9, 0xDA) or length < 2:
            return None
        at += 2 + length
    return None
