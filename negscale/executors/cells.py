"""A shard as one Ray row: the table travels as an Arrow stream in one cell, so that Ray cannot split, merge or empty it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

SCHEMA = pa.schema([("shard", pa.string()), ("note", pa.string()), ("table", pa.large_binary())])


@dataclass(slots=True)
class Cell:
    """A shard on its way through the pools."""

    shard: str
    generation: int
    rows_read: int
    table: pa.Table
    timings: dict[str, dict[str, float]] = field(default_factory=dict)


def pack(cell: Cell) -> pa.Table:
    """One Ray row; the stream's buffer becomes the cell without a copy."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, cell.table.schema) as writer:
        writer.write_table(cell.table)
    stream = sink.getvalue()
    offsets = pa.py_buffer(np.array([0, stream.size], dtype=np.int64))
    tables = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, stream])
    note = json.dumps({"generation": cell.generation, "rows_read": cell.rows_read, "timings": cell.timings})
    return pa.table([pa.array([cell.shard]), pa.array([note]), tables], schema=SCHEMA)


def unpack(block: pa.Table) -> Iterator[Cell]:
    """The shards of a Ray block. The tables lie in Ray's shared memory: valid while the block is."""
    column = block.column("table")
    at = 0
    for chunk in column.chunks:
        for value in chunk:
            stream = value.as_buffer()
            table = pa.ipc.open_stream(pa.BufferReader(stream)).read_all()
            note = json.loads(block.column("note")[at].as_py())
            yield Cell(block.column("shard")[at].as_py(), note["generation"], note["rows_read"], table, note["timings"])
            at += 1
