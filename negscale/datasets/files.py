"""Files of a dataset: found below a folder by pattern, opened without fetching the whole of them."""

from __future__ import annotations

import fnmatch
import io
from collections.abc import Iterator
from typing import Any

from negscale.core.errors import ConfigError
from negscale.storage.folder import Entry, Folder, LocalFolder

_BLOCK = 1 << 18


class RangeFile(io.RawIOBase):
    """A seekable reader over an object of known size, by range requests."""

    def __init__(self, folder: Folder, path: str, size_bytes: int) -> None:
        self._folder, self._path, self._size, self._at = folder, path, size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        data = self._folder.read_range(self._path, self._at, wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def open_file(folder: Folder, path: str, size_bytes: int | None = None) -> Any:
    """A seekable binary reader; on an object store it fetches the ranges that are read."""
    if isinstance(folder, LocalFolder):
        return folder.open(path)
    if size_bytes is None:
        size_bytes = folder.size(path)
    return io.BufferedReader(RangeFile(folder, path, size_bytes), _BLOCK)


def find_files(folder: Folder, pattern: str) -> list[Entry]:
    """Objects below `folder` (at any depth) that match the pattern, by path; ``**/`` matches no folder too."""
    shapes = {pattern, pattern.replace("**/", "")}
    found = (entry for entry in folder.walk() if any(fnmatch.fnmatchcase(entry.path, shape) for shape in shapes))
    return sorted(found, key=lambda entry: entry.path)


def must_find_files(folder: Folder, pattern: str) -> list[Entry]:
    """`find_files`, with a ConfigError that shows what is there instead when nothing matches."""
    if not (found := find_files(folder, pattern)):
        some = ", ".join(entry.path for entry in _first(folder.walk(), 5)) or "nothing"
        raise ConfigError(f"source.root {folder.uri!r}: no file matches {pattern!r}; there is: {some}")
    return found


def _first(entries: Iterator[Entry], count: int) -> Iterator[Entry]:
    for entry, _ in zip(entries, range(count), strict=False):
        yield entry
