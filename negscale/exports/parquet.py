"""A Parquet dataset with a card, in the layout that `datasets.load_dataset(folder)` reads without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from negscale.core.errors import PlanError
from negscale.core.schema import IMAGE
from negscale.exports.card import Layout, Tally, write_card
from negscale.exports.finished import ExportResult, open_finished
from negscale.exports.image_files import ReadsBytes
from negscale.exports.parquet_images import EmbeddedImages
from negscale.exports.publish import staged_folder
from negscale.storage.run_folder import RunFolder

ROWS_PER_FILE = 100_000
BYTES_PER_FILE = 256 * 2**20
_ROWS_PER_GROUP = 10_000
_BYTES_PER_GROUP = 8 * 2**20
_HEX = pa.field("sha256", pa.string())


def export_parquet(
    run: RunFolder, out: str, allow_over_budget: bool = False, license_id: str = "",
    rows_per_file: int = ROWS_PER_FILE, bytes_per_file: int = BYTES_PER_FILE,
    embed: Callable[[str], ReadsBytes] | None = None,
) -> ExportResult:  # fmt: skip
    """Write the kept rows to the folder `out` (a path or URI): data/train-*.parquet, README.md, recipe.yaml.

    license_id: an id such as ``cc-by-4.0`` for the card; without one it says ``other``. A file ends at `rows_per_file`
    rows or about `bytes_per_file` bytes. embed: gives for an image column what reads its bytes; the files then hold the
    images themselves too, and rows with an image that cannot be read are left out and listed. Raises PlanError for
    unfinished runs, for runs over their quarantine budget (unless allowed), and when `out` holds something already.
    """
    finished = open_finished(run, allow_over_budget)
    schema = flat_schema(finished.schema())
    tally = Tally()
    with staged_folder(out) as folder:
        data = folder / "data"
        data.mkdir()
        pictures = EmbeddedImages(folder, finished.schema(), embed) if embed is not None else None
        written = pictures.schema(schema) if pictures else schema
        writer = _Writer(data, written, rows_per_file, bytes_per_file)
        try:
            for table in finished.tables():
                flat = flatten(table, schema)
                for piece in pictures.tables(table, flat) if pictures else (flat,):
                    tally.add(piece.select(schema.names))
                    writer.add(piece)
        finally:
            writer.close()
        files = _number(data)
        layout = Layout(images="The images are in the files.", notes=pictures.notes()) if pictures else None
        write_card(folder, finished, written, tally, license_id, layout)
        sizes = sum(path.stat().st_size for path in files)
    return ExportResult(out, tally.rows, len(files), sizes)


def flat_schema(schema: pa.Schema) -> pa.Schema:
    """Columns of the export: no envelope beside the id, images as plain columns with their hash in hex."""
    fields: list[pa.Field] = []
    for field in schema:
        if field.name in ("rejection", "quarantine"):  # null in every kept row
            continue
        if field.type == IMAGE:
            fields += [pa.field(name, type_) for name, type_ in _image_columns(field.name)]
        else:
            fields.append(field.with_nullable(field.name != "id"))
    names = [field.name for field in fields]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PlanError(f"the parquet export would write the columns {twice} twice; rename them in the recipe")
    return pa.schema(fields)


def _image_columns(name: str) -> Iterator[tuple[str, pa.DataType]]:
    for part in IMAGE:
        # the photograph itself is what a row is about: its size needs no prefix
        plain = name == "image" and part.name.endswith("_px")
        yield part.name if plain else f"{name}_{part.name}", _HEX.type if part.name == _HEX.name else part.type


def flatten(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with `flat_schema`'s columns."""
    columns: list[pa.Array | pa.ChunkedArray] = []
    for field in table.schema:
        if field.name in ("rejection", "quarantine"):
            continue
        column = table[field.name]
        if field.type != IMAGE:
            columns.append(column)
            continue
        parts = column.combine_chunks().flatten()  # a null image gives nulls
        columns += [_hex(part) if kind.name == _HEX.name else part for kind, part in zip(IMAGE, parts, strict=True)]
    return pa.table(columns, names=schema.names).cast(schema)


def _hex(array: pa.Array) -> pa.Array:
    return pa.array([value.hex() if value is not None else None for value in array.to_pylist()], pa.string())


class _Writer:
    """Compacts tables into few files, at most one row group in memory."""

    def __init__(self, folder: Path, schema: pa.Schema, rows: int, size_bytes: int) -> None:
        self._folder, self._schema = folder, schema
        self._rows, self._bytes = rows, size_bytes
        self._waiting: list[pa.Table] = []
        self._waiting_rows = self._waiting_bytes = 0
        self._files = self._in_file = 0
        self._writer: pq.ParquetWriter | None = None
        self._sink: pa.NativeFile | None = None

    def add(self, table: pa.Table) -> None:
        """Append rows."""
        start = 0
        while start < len(table):
            room = min(_ROWS_PER_GROUP, self._rows - self._in_file) - self._waiting_rows
            piece = table.slice(start, room)
            start += len(piece)
            self._waiting.append(piece)
            self._waiting_rows += len(piece)
            self._waiting_bytes += piece.nbytes
            if len(piece) == room or self._waiting_bytes >= _BYTES_PER_GROUP:
                self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            self._sink = pa.OSFile(str(self._folder / f"{self._files:05d}.parquet"), "wb")
            self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd", version="2.6")
            self._files += 1
        if self._waiting:
            group = pa.concat_tables(self._waiting)
            self._writer.write_table(group, row_group_size=max(1, len(group)))
            self._in_file += len(group)
            self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
        assert self._sink is not None
        if self._in_file >= self._rows or self._sink.tell() >= self._bytes:
            self._end_file()

    def _end_file(self) -> None:
        if self._writer is not None and self._sink is not None:
            self._writer.close()
            self._sink.close()
        self._writer, self._sink, self._in_file = None, None, 0

    def close(self) -> None:
        """Write what waits; an export without rows still has one file, for its columns."""
        if self._waiting or self._files == 0:
            self._flush()
        self._end_file()


def _number(data: Path) -> list[Path]:
    """00000.parquet -> train-00000-of-00003.parquet, now that the count is known."""
    found = sorted(data.glob("*.parquet"))
    return [path.rename(data / f"train-{number:05d}-of-{len(found):05d}.parquet") for number, path in enumerate(found)]
