"""Images inside of the Parquet files, as `datasets` stores them: a struct of bytes and path, decoded when it is read.

Rows of a run refer to images; a dataset that is streamed needs the images themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from negscale.core.image import ImageError
from negscale.core.schema import IMAGE
from negscale.exports.image_files import MissingImages, ReadsBytes, image_suffix, safe_key

CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_READERS = 8
_ROWS = 64  # read at once: bounds the memory


class EmbeddedImages:
    """Puts the images of each row into its columns, beside the references to them."""

    def __init__(self, folder: Path, schema: pa.Schema, reader: Callable[[str], ReadsBytes]) -> None:
        """schema: of the run; reader: gives for an image column what reads its bytes."""
        self._columns = [field.name for field in schema if field.type == IMAGE]
        self._readers = {name: reader(name) for name in self._columns}
        self.missing = MissingImages(folder)

    def schema(self, flat: pa.Schema) -> pa.Schema:
        """`flat` with a column for each image, and the metadata by which `datasets` knows them for images."""
        features = {name: {"_type": "Image"} for name in self._columns}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        return pa.schema([*flat, *(pa.field(name, CELL) for name in self._columns)], metadata=metadata)

    def tables(self, table: pa.Table, flat: pa.Table) -> Iterator[pa.Table]:
        """The rows of `flat` with their images, some at a time; rows with an image that cannot be read are left out.

        table: the same rows as the run has them.
        """
        refs = table.select(["id", *self._columns]).to_pylist()
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(refs), _ROWS):
                part = refs[start : start + _ROWS]
                kept: list[int] = []
                cells: dict[str, list[Any]] = {name: [] for name in self._columns}
                for k, (row, found) in enumerate(zip(part, pool.map(self._read, part), strict=True)):
                    if isinstance(found, tuple):
                        self.missing.add(row["id"], row[found[0]], found[1])
                        continue
                    kept.append(start + k)
                    for name in self._columns:
                        cells[name].append(found[name])
                piece = flat.take(pa.array(kept, pa.int64()))
                for name in self._columns:
                    piece = piece.append_column(pa.field(name, CELL), pa.array(cells[name], CELL))
                yield piece

    def _read(self, row: Mapping[str, Any]) -> dict[str, dict[str, Any]] | tuple[str, ImageError]:
        found = {}
        for name, reader in self._readers.items():
            try:
                data = reader.read_bytes(row[name] or {"uri": None})
                suffix = image_suffix(data)
            except ImageError as error:
                return name, error
            found[name] = {"bytes": data, "path": f"{safe_key(row['id'])}.{name}.{suffix}"}
        return found

    def notes(self) -> Sequence[str]:
        """For the card."""
        return self.missing.notes()
