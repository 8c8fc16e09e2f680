"""Image files to pixels: every file of a web crawl either decodes to uint8[H, W, 3] or raises `ImageError`.

The released generators call ``Image.open`` and nothing else: greyscale, CMYK and palette files reach the model in their
own mode, EXIF rotation is ignored and a bomb takes the worker with it. Here the header is judged before a pixel is
decoded, rotation is applied, transparency is composited on white, 16-bit values are scaled to 8 bits, and of animated
files the first frame counts. Colour profiles are not applied, as in the training pipelines of the models.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Literal

import numpy as np
from PIL import Image as Pillow

from negscale.core.backend import Image
from negscale.core.errors import NegscaleError

MAX_PIXELS = 64_000_000  # 64 Mpx = 192 MB of RGB
# PIL's other plug-ins are left out on purpose: some start programs (EPS), none occurs in image-caption sets
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
ORIENTATION = 0x0112
TURNS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT, 3: Pillow.Transpose.ROTATE_180, 4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE, 6: Pillow.Transpose.ROTATE_270, 7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}  # fmt: skip
# what PIL's parsers raise on damaged bytes, by experiment over flipped and cut files
DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError, TypeError,
    AttributeError, OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip

ImageErrorKind = Literal[
    "missing_image",  # no such file, member or cell
    "empty_image",  # zero bytes
    "truncated_image",  # the file ends before its pixels do
    "oversized_image",  # more pixels than allowed: a decompression bomb
    "unreadable_image",  # not an image, a damaged one, or a format that is not read
    "changed_image",  # the bytes are not those that were listed (sha256)
    "forbidden_path",  # the reference leaves the image root
    "storage_error",  # the storage did not answer; the only kind worth a retry
]


class ImageError(NegscaleError):
    """An image that cannot be had; `kind` is stable and is what quarantine records."""

    def __init__(self, kind: ImageErrorKind, message: str) -> None:
        super().__init__(kind, message)
        self.kind: ImageErrorKind = kind
        self.message = message

    @property
    def retryable(self) -> bool:
        """Whether the same read may succeed later."""
        return self.kind == "storage_error"

    def __str__(self) -> str:
        return self.message


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Pixels uint8[H, W, 3] of an encoded image, upright; raises ImageError before decoding more than `max_pixels`."""
    if not data:
        raise ImageError("empty_image", "the image has zero bytes")
    try:
        with Pillow.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise _oversized(f"{width} x {height} pixels", max_pixels)
            turn = TURNS.get(_orientation(picture))
            picture.load()  # the first frame of animated files
            upright = picture if turn is None else picture.transpose(turn)
            return _rgb(upright)
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise _oversized(str(error), max_pixels) from None
    except Pillow.UnidentifiedImageError:
        raise ImageError("unreadable_image", f"{len(data)} bytes that are no {', '.join(FORMATS)} image") from None
    except MemoryError:
        raise _oversized("more memory than there is", max_pixels) from None
    except DAMAGE as error:
        text = str(error)
        cut = any(word in text.lower() for word in ("truncated", "end of file", "end of data", "not enough"))
        kind = "truncated_image" if cut or isinstance(error, EOFError) else "unreadable_image"
        raise ImageError(kind, f"{type(error).__name__}: {text} ({len(data)} bytes)") from None


def encode(image: Image, format: Literal["png", "jpeg"] = "png", *, quality: int = 95) -> bytes:
    """The bytes of an image uint8[H, W, 3]; PNG keeps every value, JPEG does not."""
    buffer = io.BytesIO()
    picture = Pillow.fromarray(image, "RGB")
    if format == "png":
        picture.save(buffer, "PNG", compress_level=1)
    else:
        picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _oversized(found: str, max_pixels: int) -> ImageError:
    return ImageError("oversized_image", f"{found}; the limit is {max_pixels} pixels (a decompression bomb?)")


def _orientation(picture: Pillow.Image) -> int:
    try:
        return int(picture.getexif().get(ORIENTATION, 1))
    except DAMAGE:  # a damaged EXIF block says nothing about the pixels
        return 1


def _rgb(picture: Pillow.Image) -> Image:
    if picture.mode.startswith("I"):  # PIL's own conversion clips 16-bit values at 255 instead of scaling them
        wide = np.clip(np.asarray(picture, np.int64), 0, 65535)
        return np.repeat((wide // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    if picture.mode == "F":
        raise ImageError("unreadable_image", "32-bit float pixels, whose range is not defined; save 8 or 16 bits")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Pillow.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Pillow.alpha_composite(white, picture)
    # np.array copies, so that the result is writable and does not keep the file's buffer alive
    pixels: Any = np.array(picture.convert("RGB"), dtype=np.uint8)
    return pixels
