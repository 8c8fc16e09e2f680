"""Which rows a gallery shows: a sample of a run, finished or not, the same for the same seed, drawn in one pass.

Every row has a rank, the hash of (seed, row id) that `review` uses. ``uniform`` takes the rows of lowest rank: a random
sample of all rows. ``by-reason`` gives each fate (kept, each reason of rejection, each kind of quarantine) the same number
of rows, and what a small fate does not need goes to the larger ones; within a fate the rows are again those of lowest rank,
so that every fate is itself a uniform sample. Rows that a running run adds, or a retry mends, leave the others in their order.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from negscale.core.errors import ConfigError, PlanError
from negscale.report.gallery_scores import ScoreTally
from negscale.review.sample import rank
from negscale.storage.parts import KINDS, Commit, read_part
from negscale.storage.run_folder import RunFolder

MAX_ROWS = 10_000  # what one page holds
_AHEAD = 8  # parts read ahead: hides the latency of object stores, bounds the memory

How: TypeAlias = Literal["by-reason", "uniform"]
Place: TypeAlias = Literal["kept", "rejected", "quarantined"]
PLACES: tuple[Place, ...] = ("kept", "rejected", "quarantined")  # of `KINDS`, in its order
Fate: TypeAlias = tuple[Place, str]  # ("rejected", "verify_absent/object_present"); the reason of kept rows is ""


@dataclass(frozen=True, slots=True)
class DrawnRow:
    """A row of the sample and what became of it."""

    fate: Fate
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The sample, with what the pass over all rows counted."""

    rows: tuple[DrawnRow, ...]  # by rank
    fates: Mapping[Fate, int]  # rows of the committed shards; kept first, then by count
    schema: pa.Schema
    scores: ScoreTally

    @property
    def population(self) -> int:
        """Rows of the committed shards."""
        return sum(self.fates.values())


def draw_rows(
    run: RunFolder, commits: Sequence[Commit], size: int, how: How = "by-reason", seed: int = 0
) -> Drawn:  # fmt: skip
    """At most `size` rows of the committed shards.

    Reads ids, marks and scores of all rows, then the whole of the parts that hold a chosen one. Memory grows with the
    sample (times the number of fates), not with the run. Raises ConfigError for a size outside of 1 to MAX_ROWS, PlanError
    when nothing is committed yet.
    """
    if not 1 <= size <= MAX_ROWS:
        raise ConfigError(f"--rows {size}: expected 1 to {MAX_ROWS:,}, which is what one page holds")
    schema = schema_of(run, commits)
    scores = ScoreTally(schema)
    heaps: dict[Fate, list[tuple[int, str, int, str]]] = {}  # (-rank, id, number of the commit, kind): worst row first
    fates: dict[Fate, int] = {}
    columns = ["id", "rejection", "quarantine", *scores.names]
    for number, kind, table in _parts(run, commits, columns):
        marks = _fates(kind, table)
        scores.add(PLACES[KINDS.index(kind)], table)
        for row_id, fate in zip(table["id"].to_pylist(), marks, strict=True):
            fates[fate] = fates.get(fate, 0) + 1
            heap = heaps.setdefault(fate, [])
            entry = (-rank(seed, row_id), row_id, number, kind)
            if len(heap) < size:
                heapq.heappush(heap, entry)
            elif entry > heap[0]:
                heapq.heapreplace(heap, entry)
    if not fates:
        raise PlanError(f"run {run.uri} has no finished shard with rows yet; see negscale status {run.uri}")
    chosen = [(entry, fate) for fate, heap in heaps.items() for entry in heap]
    if how == "by-reason":
        share = allocate(fates, size)
        chosen = [pair for fate, heap in heaps.items() for pair in _best([(e, fate) for e in heap], share[fate])]
    chosen = _best(chosen, size)
    rows = _read(run, commits, [entry for entry, _ in chosen])
    order = sorted(fates, key=lambda fate: (PLACES.index(fate[0]), -fates[fate], fate[1]))
    drawn = tuple(DrawnRow(fate, rows[entry[1]]) for entry, fate in chosen)
    return Drawn(drawn, {fate: fates[fate] for fate in order}, schema, scores)


def allocate(sizes: Mapping[Fate, int], total: int) -> dict[Fate, int]:
    """How many rows each fate gives: equal shares, and what a small one leaves goes to the others.

    >>> allocate({("kept", ""): 900, ("rejected", "a"): 5, ("rejected", "b"): 80}, 100)
    {('rejected', 'a'): 5, ('rejected', 'b'): 47, ('kept', ''): 48}
    """
    given: dict[Fate, int] = {}
    for place, fate in enumerate(sorted(sizes, key=lambda fate: (sizes[fate], fate))):
        given[fate] = min(sizes[fate], total // (len(sizes) - place))
        total -= given[fate]
    return given


def schema_of(run: RunFolder, commits: Sequence[Commit]) -> pa.Schema:
    """Columns of the run's rows, the envelope included, from one part. Raises PlanError when nothing is committed yet."""
    if not commits:
        raise PlanError(f"run {run.uri} has no finished shard with rows yet; see negscale status {run.uri}")
    part = read_part(run.folder, "data", commits[0])
    assert part is not None  # every commit has a part in data/, be it without rows
    return part.schema.remove_metadata()


def _best(chosen: list[tuple[Any, Fate]], size: int) -> list[tuple[Any, Fate]]:
    return sorted(chosen, key=lambda pair: pair[0], reverse=True)[:size]


def _fates(kind: str, table: pa.Table) -> list[Fate]:
    if kind == "data":
        return [("kept", "")] * len(table)
    if kind == "rejected":
        return [("rejected", f"{mark['stage']}/{mark['reason']}") for mark in table["rejection"].to_pylist()]
    return [("quarantined", f"{mark['stage']}/{mark['kind']}") for mark in table["quarantine"].to_pylist()]


def _parts(
    run: RunFolder, commits: Sequence[Commit], columns: Sequence[str] | None
) -> Iterator[tuple[int, str, pa.Table]]:
    """(number of the commit, kind, rows) of every part that has rows, in a fixed order."""
    waiting: deque[tuple[int, str, Future[pa.Table | None]]] = deque()
    todo = (
        (number, kind)
        for number, commit in enumerate(commits)
        for kind, count in zip(KINDS, (commit.kept, commit.rejected, commit.quarantined), strict=True)
        if count
    )
    with ThreadPoolExecutor(_AHEAD) as pool:
        for number, kind in todo:
            waiting.append((number, kind, pool.submit(read_part, run.folder, kind, commits[number], columns)))
            if len(waiting) >= _AHEAD:
                yield _taken(waiting)
        while waiting:
            yield _taken(waiting)


def _taken(waiting: deque[tuple[int, str, Future[pa.Table | None]]]) -> tuple[int, str, pa.Table]:
    number, kind, future = waiting.popleft()
    table = future.result()
    assert table is not None  # the commit says that the part has rows
    return number, kind, table


def _read(
    run: RunFolder, commits: Sequence[Commit], chosen: Sequence[tuple[int, str, int, str]]
) -> dict[str, Mapping[str, Any]]:
    wanted: dict[tuple[int, str], set[str]] = {}
    for _, row_id, number, kind in chosen:
        wanted.setdefault((number, kind), set()).add(row_id)
    rows: dict[str, Mapping[str, Any]] = {}
    for (number, kind), ids in sorted(wanted.items()):
        part = read_part(run.folder, kind, commits[number])
        assert part is not None
        places = [place for place, row_id in enumerate(part["id"].to_pylist()) if row_id in ids]
        for row in part.take(pa.array(places, pa.int64())).to_pylist():
            rows[row["id"]] = row
    return rows
