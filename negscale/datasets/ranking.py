"""Queries to be ranked against items, as a source: blocks of queries are shards, the vectors lie beside the list.

NegBench (arXiv 2501.09425, `retrieval.py`) ranks in one process that holds all scores. A set here is three objects below
one folder: queries.parquet (a row a query, with its right items), queries.f32 and items.f32 (little-endian, row by row).
A worker holds the items and one block of queries.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from negscale.core.config import Config, Location
from negscale.core.errors import AuditError, ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.storage.folder import open_folder

QUERY = pa.schema([("query", pa.int64()), ("right_items", pa.list_(pa.int64()))])
_FACTS = b"negscale.ranking"


class RankingSetConfig(Config):
    """A set of queries and items."""

    kind: Literal["ranking_set"] = "ranking_set"
    uri: Location
    """The folder that `write_ranking_set` made."""

    def build(self) -> RankingSource:
        """The source."""
        return RankingSource(self)


class RankingSource:
    """A row a query, in blocks."""

    schema = QUERY

    def __init__(self, config: RankingSetConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Raises ConfigError where there is no set."""
        table, facts = _read(self.config.uri)
        block = facts["block"]
        shards = [
            Shard(f"queries-{number:06d}", min(block, len(table) - start))
            for number, start in enumerate(range(0, len(table), block))
        ]
        index = table.append_column("id", pa.array([f"{query:09d}" for query in table["query"].to_pylist()]))
        return Listing(tuple(shards), {"vectors": facts["digest"], "block": block}, index)

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The rows of a shard: those of the index."""
        assert index is not None
        return index


class RankingVectors:
    """The vectors of a set. Picklable; items are read once."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._items: np.ndarray | None = None

    def __reduce__(self) -> tuple[type[RankingVectors], tuple[str]]:
        return RankingVectors, (self._uri,)

    def items(self) -> np.ndarray:
        """float32[m, d]."""
        if self._items is None:
            _, facts = _read(self._uri)
            self._width = int(facts["width"])
            self._items = _matrix(open_folder(self._uri).read("items.f32"), self._width, self._uri)
        return self._items

    def queries(self, numbers: Sequence[int]) -> np.ndarray:
        """float32[n, d] of queries by their numbers; reads the range that holds them."""
        self.items()
        first, last, size = min(numbers), max(numbers), 4 * self._width
        data = open_folder(self._uri).read_range("queries.f32", first * size, (last - first + 1) * size)
        return _matrix(data, self._width, self._uri)[np.asarray(numbers) - first]


def write_ranking_set(
    root: str, queries: np.ndarray, items: np.ndarray, right_items: Sequence[Sequence[int]], block: int
) -> tuple[str, str]:  # fmt: skip
    """Write a set below `root`, named by its content; returns (its name, its URI).

    queries: float32[n, d]; items: float32[m, d]; right_items: numbers of items, for each query; block: queries of a shard.
    """
    parts = [np.ascontiguousarray(matrix, "<f4").tobytes() for matrix in (queries, items)]
    columns = {"query": list(range(len(right_items))), "right_items": [list(found) for found in right_items]}
    table = pa.table(columns, schema=QUERY)
    digest = sha256(json.dumps([block, queries.shape, items.shape]).encode())
    for part in (*parts, json.dumps(table["right_items"].to_pylist()).encode()):
        digest.update(part)
    name = digest.hexdigest()[:16]
    folder = open_folder(f"{root.rstrip('/')}/{name}")
    facts = {"block": block, "width": int(items.shape[1]), "digest": digest.hexdigest()[:32]}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({_FACTS: json.dumps(facts).encode()}), buffer)
    for path, data in zip(("queries.f32", "items.f32"), parts, strict=True):
        folder.put_if_absent(path, data)
    folder.put_if_absent("queries.parquet", buffer.getvalue())  # last: its existence means that the set is whole
    return name, folder.uri


def _read(uri: str) -> tuple[pa.Table, dict]:
    try:
        table = pq.read_table(pa.BufferReader(open_folder(uri).read("queries.parquet")))
    except FileNotFoundError:
        raise ConfigError(f"source.uri: {uri} holds no queries.parquet; expected a set of queries and items") from None
    facts = (table.schema.metadata or {}).get(_FACTS)
    if facts is None:
        raise ConfigError(f"source.uri: {uri}/queries.parquet does not say what it ranks; it is no set of ours")
    return table.replace_schema_metadata(None), json.loads(facts)


def _matrix(data: bytes, width: int, uri: str) -> np.ndarray:
    if len(data) % (4 * width):
        raise AuditError(f"{uri}: {len(data)} bytes are no rows of {width} numbers; delete the folder and run again")
    return np.frombuffer(data, "<f4").reshape(-1, width).astype(np.float32, copy=False)
