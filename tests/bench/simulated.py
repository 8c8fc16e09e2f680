"""Simulated GPU stages: a worker holds one `fakegpu` and sleeps so many milliseconds a row, in batches of 64 rows.

The same `simulate` runs in every leg (negscale, plain Ray Data, bare actors) and notes each batch, so that all are
measured by the same clock at the same place: the work of the slow stage.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from negscale.core.pipeline import Listing, Pipeline, Shard
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Outcome, Resources, Row, Stage
from negscale.executors.drive import RunSpec, Watcher
from negscale.storage.parts import Commit

BATCH_ROWS = 64
Event = tuple[float, float, int]  # begin, end, rows


def simulate(stage: str, rows: int, row_ms: float, log: str) -> None:
    """Sleep for `rows` rows, a batch at a time, and note each batch."""
    if not log:
        return
    lines = []
    for at in range(0, rows, BATCH_ROWS):
        batch, begin = min(BATCH_ROWS, rows - at), time.time()
        time.sleep(batch * row_ms / 1000)
        lines.append(f"{begin:.4f} {time.time():.4f} {batch}\n")
    with Path(log, f"{stage}.{os.getpid()}.log").open("a") as file:
        file.write("".join(lines))


def events(log: str, stage: str) -> list[Event]:
    """What all workers of a stage did, by end of batch."""
    found = []
    for file in Path(log).glob(f"{stage}.*.log"):
        for line in file.read_text().splitlines():
            begin, end, rows = line.split()
            found.append((float(begin), float(end), int(rows)))
    return sorted(found, key=lambda event: event[1])


def steady_rate(done: Iterable[tuple[float, int]], low: float = 0.2, high: float = 0.9) -> float:
    """Rows per second between `low` and `high` of the rows; done: (when, rows), in the order of time."""
    points, total = [], 0
    for when, rows in done:
        total += rows
        points.append((when, total))
    begin = next(point for point in points if point[1] >= low * total)
    end = next(point for point in points if point[1] >= high * total)
    if end[0] <= begin[0]:
        raise ValueError(f"{total} rows came in {len(points)} steps: too few to tell a rate")
    return (end[1] - begin[1]) / (end[0] - begin[0])


def work_figures(log: str, stage: str, workers: int) -> dict[str, float]:
    """Steady rate and busy share of a stage, and when it began."""
    found = events(log, stage)
    first, last = min(event[0] for event in found), max(event[1] for event in found)
    busy = sum(end - begin for begin, end, _ in found)
    return {
        "rows_s_steady": steady_rate([(end, rows) for _, end, rows in found]), "busy": busy / (workers * (last - first)),
        "first_batch_at": first, "rows_worked": sum(rows for _, _, rows in found),
    }  # fmt: skip


@functools.cache
def _blob() -> bytes:
    return np.random.default_rng(0).bytes(1 << 20)


def payload_rows(first: int, rows: int, row_bytes: int) -> dict[str, Any]:
    """Columns id, x and payload of rows first..first+rows; the payload of a shard does not compress."""
    blob, most = _blob(), (1 << 20) - row_bytes
    starts = (x * 4099 % most for x in range(first, first + rows))
    cells = [blob[at : at + row_bytes] for at in starts]
    return {
        "id": [f"{x:09d}" for x in range(first, first + rows)], "x": pa.array(range(first, first + rows), pa.int64()),
        "payload": pa.array(cells, pa.binary()),
    }  # fmt: skip


class PayloadSource:
    """Rows 0..rows-1 with `row_bytes` of payload each, in shards of `shard_rows`."""

    schema = pa.schema([("x", pa.int64()), ("payload", pa.binary())])

    def __init__(self, rows: int, shard_rows: int, row_bytes: int) -> None:
        self.rows, self.shard_rows, self.row_bytes = rows, shard_rows, row_bytes

    def list(self) -> Listing:
        shards = tuple(
            Shard(f"s{number:07d}", min(self.shard_rows, self.rows - at), str(at))
            for number, at in enumerate(range(0, self.rows, self.shard_rows))
        )
        return Listing(shards, {"rows": self.rows, "shard_rows": self.shard_rows, "row_bytes": self.row_bytes})

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        return pa.table(payload_rows(int(shard.where), shard.rows, self.row_bytes))


class SimulatedGpu(Stage):
    """Writes x + 1 after a sleep; one worker per simulated GPU. `log` empty: no sleep, no notes."""

    reads = pa.schema([("x", pa.int64())])

    def __init__(self, name: str, row_ms: float, log: str, resources: Resources) -> None:
        self.name, self.row_ms, self.log, self.resources = name, row_ms, log, resources
        self.writes = pa.schema([(f"{name}_out", pa.int64())])

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        simulate(self.name, len(rows), self.row_ms, self.log)
        return [{f"{self.name}_out": row["x"] + 1} for row in rows]


def simulated(
    name: str, rows: int, shard_rows: int, row_bytes: int, stages: Sequence[tuple[str, float, int | None]], log: str,
    gpus: bool = True,
) -> Pipeline:  # fmt: skip
    """Pipeline of simulated stages (name, ms a row, workers or None = sized by the executor)."""
    steps = tuple(
        SimulatedGpu(
            stage, row_ms, log,
            Resources(
                custom={"fakegpu": 1} if gpus else None, actors=actors, row_ms=row_ms or None, batch_rows=BATCH_ROWS
            ),
        )
        for stage, row_ms, actors in stages
    )  # fmt: skip
    return Pipeline(f"bench/{name}", PayloadSource(rows, shard_rows, row_bytes), steps)


def spec_of(build: Any, root: str, **runtime: Any) -> RunSpec:
    """A run of `build()` below `root`."""
    pipeline = build()
    config = RuntimeConfig(run_root=root, version="bench", **runtime)
    return RunSpec(pipeline.name, "bench", {}, "{}\n", pipeline, build, config)


class Clock(Watcher):
    """Notes when the run began to work, when each commit came in and when the executor was done."""

    def __init__(self) -> None:
        self.began = self.ended_at = 0.0
        self.commits: list[tuple[float, int]] = []

    def started(self, todo: Sequence[Shard], done: int, names: Sequence[str]) -> None:
        self.began = time.time()

    def committed(self, commit: Commit) -> None:
        self.commits.append((time.time(), commit.rows_out))

    def ended(self) -> None:
        self.ended_at = time.time()


def parts_by_time(folder: str, rows_each: int | None = None) -> list[tuple[float, int]]:
    """(time written, rows) of the Parquet files below `folder`: one clock for every runner's output.

    rows_each: rows of every file where that is known; else the footers say (plain Ray Data may join blocks in a file).
    """
    files = sorted((path.stat().st_mtime, path) for path in Path(folder).rglob("*.parquet"))
    return [(when, rows_each or pq.read_metadata(path).num_rows) for when, path in files]
