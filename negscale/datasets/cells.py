"""Single cells of Parquet files: images that Hugging Face datasets embed as struct{bytes, path}.

A cell cannot be read alone; its row group is read and kept, since the next cells asked for are its neighbours.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from negscale.datasets.files import open_file
from negscale.storage.folder import Folder

_FILES = 8
_GROUPS = 2  # row groups kept in memory per process


class ParquetCells:
    """Reads (bytes, path) cells with a small cache of open files and row groups. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._files: OrderedDict[str, tuple[pq.ParquetFile, list[int]]] = OrderedDict()
        self._groups: OrderedDict[tuple[str, str, int], pa.ChunkedArray] = OrderedDict()

    def read(self, folder: Folder, path: str, column: str, row: int) -> tuple[bytes | None, str | None]:
        """(encoded image or None, its path or None) of row number `row`.

        Raises IndexError (row), ValueError (column, damaged file), OSError (storage).
        """
        with self._lock:
            name = f"{folder.uri}/{path}"
            file, starts = self._open(name, folder, path)
            if not 0 <= row < starts[-1]:
                raise IndexError(f"row {row} of {starts[-1]} rows")
            if column not in file.schema_arrow.names:
                raise ValueError(f"no column {column!r}; there are {file.schema_arrow.names}")
            number = bisect.bisect_right(starts, row) - 1
            cells = self._group(name, file, column, number)
            return _parts(cells[row - starts[number]].as_py())

    def _open(self, name: str, folder: Folder, path: str) -> tuple[pq.ParquetFile, list[int]]:
        if name not in self._files:
            file = pq.ParquetFile(open_file(folder, path))
            starts = [0]
            for group in range(file.metadata.num_row_groups):
                starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
            self._files[name] = (file, starts)
            while len(self._files) > _FILES:
                self._files.popitem(last=False)[1][0].close(force=True)
        self._files.move_to_end(name)
        return self._files[name]

    def _group(self, name: str, file: pq.ParquetFile, column: str, number: int) -> pa.ChunkedArray:
        key = (name, column, number)
        if key not in self._groups:
            self._groups[key] = file.read_row_group(number, columns=[column], use_threads=False)[column]
            while len(self._groups) > _GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]


def _parts(value: Any) -> tuple[bytes | None, str | None]:
    if isinstance(value, dict):
        return value.get("bytes"), value.get("path")
    return (value, None) if isinstance(value, bytes) else (None, value)
