"""Names and bytes of images for formats that others read by path.

An image that is a file of its own keeps its name, relative to the source's root. One that lies inside of a tar or a
Parquet file, or is drawn, has no name that another program could open: its bytes are copied to ``images/`` of the export.
Images that cannot be had are listed in ``missing_images.jsonl``; their rows are left out, and the result counts them.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from PIL import Image as Pillow

from negscale.core.image import DAMAGE, FORMATS, ImageError

MISSING = "missing_images.jsonl"
_INSIDE = re.compile(r"\.parquet#|^toyworld:")
_SUFFIXES = {
    "JPEG": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tif",
    "PPM": "ppm",
    "AVIF": "avif",
}
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_KEY_LENGTH = 80  # a tar header has room for 100 bytes


class ReadsBytes(Protocol):
    """Gives the encoded bytes of an IMAGE reference; raises ImageError."""

    def read_bytes(self, ref: Mapping[str, Any]) -> bytes: ...


def safe_key(name: str) -> str:
    """`name` as a file name without dot or slash; different names give different keys.

    >>> safe_key("000000391895-770337")
    '000000391895-770337'
    >>> safe_key("a/b#1")
    'a_b_1-064ffc5a'
    """
    clean = _UNSAFE.sub("_", name)
    if clean == name and 0 < len(name) <= _KEY_LENGTH:
        return name
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{clean[: _KEY_LENGTH - 9]}-{digest}"


def image_suffix(data: bytes) -> str:
    """ "jpg", "png", ... by the first bytes. Raises ImageError for what is no image."""
    try:
        with Pillow.open(io.BytesIO(data), formats=FORMATS) as picture:
            return _SUFFIXES[picture.format or ""]
    except (Pillow.UnidentifiedImageError, Pillow.DecompressionBombError, *DAMAGE) as error:
        # Pillow's own text holds an address, and an export has the same bytes each time
        raise ImageError(
            "unreadable_image", f"{len(data)} bytes that are no {', '.join(FORMATS)} image ({type(error).__name__})"
        ) from None


def is_file(ref: Mapping[str, Any] | None) -> bool:
    """Whether a reference names a whole file."""
    if ref is None or not ref.get("uri"):
        return False
    return ref.get("offset") is None and not _INSIDE.search(ref["uri"])


class MissingImages:
    """Rows whose image cannot be had, as lines of ``missing_images.jsonl``; no file when there is none."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / MISSING
        self.rows = 0

    def add(self, row_id: str, ref: Mapping[str, Any] | None, error: ImageError) -> None:
        """Note a row that is left out."""
        self.rows += 1
        line = {"id": row_id, "uri": (ref or {}).get("uri"), "kind": error.kind, "message": str(error)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def notes(self) -> list[str]:
        """For the card."""
        if not self.rows:
            return []
        return [f"The images of {self.rows:,} rows could not be read; the rows are left out and listed in `{MISSING}`."]


class ImageFiles:
    """Gives each image a path; copies into ``images/`` of the export what has none."""

    def __init__(self, folder: Path, reader: ReadsBytes | None) -> None:
        self._folder, self._reader = folder, reader
        self.missing = MissingImages(folder)
        self.copied = 0
        self._last: tuple[Any, ...] = ()
        self._last_path = ""

    def path(self, row: Mapping[str, Any], column: str = "image") -> str | None:
        """Path of the row's image: a file's own name, or one below this export; None when it cannot be had (it is listed)."""
        ref = row[column] or {"uri": None}
        if is_file(ref):
            return ref["uri"]
        place = (ref["uri"], ref.get("offset"))
        if place == self._last:
            return self._last_path  # captions of one image are neighbours
        try:
            self._last_path = self._copy(ref)
        except ImageError as error:
            self.missing.add(row["id"], ref, error)
            return None
        self._last = place
        return self._last_path

    def _copy(self, ref: Mapping[str, Any]) -> str:
        if self._reader is None:
            raise ImageError("missing_image", f"{ref.get('uri')}: not a file of its own, and no reader was given")
        data = self._reader.read_bytes(ref)
        at = f"{ref['uri']}@{ref['offset']}" if ref.get("offset") is not None else ref["uri"]
        name = f"images/{safe_key(at)}.{image_suffix(data)}"
        target = self._folder / name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)
            self.copied += 1
        return name

    def notes(self) -> list[str]:
        """For the card."""
        copied = (
            f"{self.copied:,} images that were no files of their own were copied to `images/`; their paths begin there."
        )
        return [*([copied] if self.copied else []), *self.missing.notes()]
