"""What a dual encoder looks at: an image, a region of it, or frames of a clip; keyed by content.

NegRefCOCOg's scorer (arXiv 2501.10913) opens the file again for every box; NegBench's video tasks (arXiv 2501.09425) embed
four frames at the middles of four equal intervals and take the mean of their unit vectors. Both are followed here, with
crops rounded to pixels as Pillow does and cut at the border.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from negscale.benchmarks.found_images import VIDEOS
from negscale.core.backend import Image
from negscale.core.image import ImageError, decode

FRAMES = 4


@dataclass(frozen=True, slots=True, order=True)
class Picture:
    """An image or clip below the image root, or a region of an image: (x, y, w, h) in pixels, () for the whole."""

    path: str
    box: tuple[float, ...] = ()

    @property
    def is_video(self) -> bool:
        """A clip, by its ending."""
        return self.path.lower().endswith(VIDEOS)

    def key(self, data: bytes) -> bytes:
        """32 bytes that name the content: equal bytes and box, equal key, whatever the path."""
        digest = sha256(data)
        if self.box or self.is_video:
            how = f"frames {FRAMES}" if self.is_video else "crop " + " ".join(map(repr, self.box))
            digest = sha256(digest.digest() + how.encode())
        return digest.digest()

    def views(self, data: bytes, max_pixels: int) -> list[Image]:
        """The uint8[H, W, 3] arrays whose mean vector stands for the picture. Raises ImageError."""
        if self.is_video:
            return frames(data, FRAMES)
        image = decode(data, max_pixels=max_pixels)
        return [crop(image, self.box) if self.box else image]


def text_key(text: str) -> bytes:
    """32 bytes that name a text."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def crop(image: Image, box: Sequence[float]) -> Image:
    """The region x, y, w, h of uint8[H, W, 3], corners rounded as Pillow does. Raises ImageError when nothing is left."""
    x, y, w, h = box
    left, top, right, bottom = (round(v) for v in (x, y, x + w, y + h))
    region = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if 0 in region.shape:
        height, width = image.shape[:2]
        raise ImageError(
            "unreadable_image", f"the box {list(box)} lies outside of the image of {width} x {height} pixels"
        )
    return region


def frames(data: bytes, count: int) -> list[Image]:
    """`count` frames of a clip, at the middles of as many equal intervals. Raises ImageError for what is no video."""
    import cv2

    reader: Any = cv2
    with tempfile.NamedTemporaryFile(suffix=".video") as file:
        file.write(data)
        file.flush()
        clip = reader.VideoCapture(file.name)
        try:
            total = int(clip.get(reader.CAP_PROP_FRAME_COUNT))
            wanted = {int((n + 0.5) * total / count) for n in range(count)}
            found: dict[int, Image] = {}
            for number in range(max(wanted) + 1 if total > 0 else 0):
                if not clip.grab():
                    break
                if number in wanted:
                    ok, picture = clip.retrieve()
                    if ok:
                        found[number] = reader.cvtColor(picture, reader.COLOR_BGR2RGB)
        finally:
            clip.release()
    if not found:
        raise ImageError("unreadable_image", f"no frame of the clip of {len(data)} bytes can be decoded")
    held = [found[n] for n in sorted(found)]
    return [
        found.get(int((n + 0.5) * total / count), held[-1]) for n in range(count)
    ]  # counts in files may be too high
