"""Images by reference: a worker turns an IMAGE struct into pixels where it needs them.

A reference is a file below the image root, a byte range of one (a member of a tar), a cell of a Parquet file
(``part.parquet#image:17``) or a drawn scene (``toyworld:7/42``). Nothing outside the root is read unless a config names
further roots: captions files come from strangers.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from negscale.core.backend import Image
from negscale.core.errors import NegscaleError
from negscale.core.image import MAX_PIXELS, ImageError, decode, encode
from negscale.datasets.cells import ParquetCells
from negscale.datasets.toy_scenes import draw, scene
from negscale.storage.folder import Folder, open_folder

_CELL = re.compile(r"(?P<path>.+\.parquet)#(?P<column>.+):(?P<row>\d+)")
_TOYWORLD = re.compile(r"toyworld:(?P<seed>-?\d+)/(?P<index>\d+)")


def is_absolute(path: str) -> bool:
    """Whether `path` is a URI or starts at the root of a disk."""
    return "://" in path or path.startswith(("/", "\\", "~")) or path[1:3] in (":\\", ":/")


class ImageReader:
    """Reads and decodes images below `root`. Picklable; opens storage at the first read."""

    def __init__(self, root: str = "", more_roots: Sequence[str] = (), max_pixels: int = MAX_PIXELS) -> None:
        """more_roots: folders or URI prefixes in which absolute references may lie."""
        self.root = root
        self.more_roots = tuple(more_roots)
        self.max_pixels = max_pixels
        self._opened: dict[str, Folder] = {}
        self._cells = ParquetCells()

    def __reduce__(self) -> tuple[type[ImageReader], tuple[Any, ...]]:
        return ImageReader, (self.root, self.more_roots, self.max_pixels)

    def read(self, ref: Mapping[str, Any]) -> Image:
        """Pixels uint8[H, W, 3] of an IMAGE struct; raises ImageError, whose `kind` says why not."""
        if (drawn := _TOYWORLD.fullmatch(ref["uri"] or "")) is not None:
            return draw(scene(int(drawn["seed"]), int(drawn["index"])))
        return decode(self.read_bytes(ref), max_pixels=self.max_pixels)

    def read_bytes(self, ref: Mapping[str, Any]) -> bytes:
        """The encoded image, its sha256 verified when the reference has one; raises ImageError."""
        uri = ref["uri"]
        if not uri:
            raise ImageError("missing_image", "the row has no image reference")
        if _TOYWORLD.fullmatch(uri):
            return encode(self.read(ref))
        data = self._fetch(uri, ref)
        if ref.get("length") is not None and len(data) < ref["length"]:
            raise ImageError("truncated_image", f"{uri}: {len(data)} of {ref['length']} bytes are there")
        wanted = ref.get("sha256")
        if wanted is not None and sha256(data).digest() != wanted:
            found = sha256(data).hexdigest()
            raise ImageError("changed_image", f"{uri}: sha256 is {found}, listed was {wanted.hex()}; list it anew")
        return data

    def _fetch(self, uri: str, ref: Mapping[str, Any]) -> bytes:
        if (cell := _CELL.fullmatch(uri)) is not None:
            folder, path = self._locate(cell["path"])
            data, other = self._guard(uri, lambda: self._cells.read(folder, path, cell["column"], int(cell["row"])))
            if data is not None:
                return data
            if not other or _CELL.fullmatch(other):
                raise ImageError("missing_image", f"{uri}: the cell is null")
            return self._fetch(other, {})  # a dataset that stores paths instead of bytes
        folder, path = self._locate(uri)
        if ref.get("offset") is None:
            return self._guard(uri, lambda: folder.read(path))
        return self._guard(uri, lambda: folder.read_range(path, ref["offset"], ref["length"]))

    def _locate(self, uri: str) -> tuple[Folder, str]:
        """The folder and the path in it; refuses what lies elsewhere."""
        if not is_absolute(uri):
            path = posixpath.normpath(uri)
            if path == ".." or path.startswith("../") or "\0" in path:
                raise ImageError("forbidden_path", f"{uri!r} leaves the image root {self.root!r}")
            return self._folder(self.root), path
        scheme, separator, rest = uri.rpartition("://")
        clean = scheme + separator + posixpath.normpath(rest)
        for root in (self.root, *self.more_roots):
            prefix = root.rstrip("/") + "/"
            if is_absolute(root) and clean.startswith(prefix):
                return self._folder(root), clean[len(prefix) :]
        raise ImageError(
            "forbidden_path",
            f"{uri!r} lies outside of the image root {self.root!r}; allow its folder in source.image_roots",
        )

    def _folder(self, root: str) -> Folder:
        if root not in self._opened:
            self._opened[root] = open_folder(root)
        return self._opened[root]

    def _guard(self, uri: str, read: Any) -> Any:
        try:
            return read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ImageError("missing_image", f"{uri}: no such image below {self.root!r}") from None
        except IndexError as error:
            raise ImageError("missing_image", f"{uri}: {error}") from None
        except ValueError as error:  # pyarrow's ArrowInvalid, a name with a NUL, a column that is not there
            raise ImageError("unreadable_image", f"{uri}: {error}") from None
        except NegscaleError:
            raise
        except OSError as error:
            raise ImageError("storage_error", f"{uri}: {type(error).__name__}: {error}") from None
