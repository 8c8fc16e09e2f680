"""Which kept rows people look at: a uniform sample, the same for the same seed, without holding the run in memory.

Every row has a rank, a hash of (seed, row id); the sample is the rows of lowest rank, in the order of their ranks. So the
first k rows are themselves a uniform sample (whoever stops early still estimates the precision of the whole), a larger
sample contains the smaller one, and rows that a retry adds leave the answers given so far in place.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from negscale.core.errors import ConfigError, PlanError
from negscale.core.rng import seed_for
from negscale.core.schema import IMAGE
from negscale.storage.parts import Commit, content_digest, read_part
from negscale.storage.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows to look at, in the order in which they are shown."""

    rows: tuple[Mapping[str, Any], ...]
    digests: tuple[str, ...]  # of each row: an answer holds for the row as it was shown
    schema: pa.Schema
    population: int  # kept rows of the committed shards, from which the sample is drawn

    def image_columns(self) -> list[str]:
        """Names of the columns that refer to images; `image_path` (text) where there is no reference."""
        references = [field.name for field in self.schema if field.type == IMAGE]
        return references or [name for name in self.schema.names if name == "image_path"]


def rank(seed: int, row_id: str) -> int:
    """Place of a row in the random order of its run; lower ones are shown first."""
    return seed_for(seed, "review", row_id)


def draw_sample(run: RunFolder, size: int, seed: int = 0) -> Sample:
    """`size` kept rows of the committed shards, or all where there are fewer.

    Reads the ids of all kept rows, then the whole of the parts that hold a chosen one. Raises ConfigError for a size
    below 1, PlanError when nothing was kept yet.
    """
    if size < 1:
        raise ConfigError(f"sample size {size}: expected a positive whole number, e.g. --sample 200")
    run.record()
    commits = run.commits()
    chosen: list[tuple[int, str, int]] = []  # (-rank, id, number of the commit): a heap whose first leaves first
    for number, commit in enumerate(commits):
        if not commit.kept:
            continue
        part = read_part(run.folder, "data", commit, ["id"])
        assert part is not None
        for row_id in part["id"].to_pylist():
            entry = (-rank(seed, row_id), row_id, number)
            if len(chosen) < size:
                heapq.heappush(chosen, entry)
            elif entry > chosen[0]:
                heapq.heapreplace(chosen, entry)
    if not chosen:
        raise PlanError(f"run {run.uri} has no kept row yet; see negscale status {run.uri}")
    rows, schema = _read(run, commits, chosen)
    order = [rows[row_id] for _, row_id, _ in sorted(chosen, reverse=True)]
    digests = tuple(content_digest(table) for table in order)
    shown = tuple(table.to_pylist()[0] for table in order)
    return Sample(shown, digests, schema, sum(commit.kept for commit in commits))


def _read(
    run: RunFolder, commits: list[Commit], chosen: list[tuple[int, str, int]]
) -> tuple[dict[str, pa.Table], pa.Schema]:
    wanted: dict[int, set[str]] = {}
    for _, row_id, number in chosen:
        wanted.setdefault(number, set()).add(row_id)
    rows: dict[str, pa.Table] = {}
    schema = pa.schema([])
    for number, ids in sorted(wanted.items()):
        part = read_part(run.folder, "data", commits[number])
        assert part is not None
        part = part.replace_schema_metadata(None)
        schema = part.schema
        for place, row_id in enumerate(part["id"].to_pylist()):
            if row_id in ids:
                # a copy: a slice would keep the whole part in memory
                rows[row_id] = part.take(pa.array([place], pa.int64()))
    return rows, schema
