"""Pipelines for tests: rows by arithmetic, stages that note what they ran, poison by row. Real parts otherwise."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from negscale.core.explode import Explode
from negscale.core.pipeline import Listing, Pipeline, Shard
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage
from negscale.executors.drive import RunSpec


class NumberSource:
    """Rows 0..rows-1 in shards of `shard_rows`."""

    schema = pa.schema([("x", pa.int64())])

    def __init__(self, rows: int, shard_rows: int) -> None:
        self.rows, self.shard_rows = rows, shard_rows

    def list(self) -> Listing:
        shards = []
        for number, at in enumerate(range(0, self.rows, self.shard_rows)):
            shards.append(Shard(f"n{number:06d}", min(self.shard_rows, self.rows - at), str(at)))
        return Listing(tuple(shards), {"rows": self.rows, "shard_rows": self.shard_rows})

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        at = int(shard.where)
        xs = range(at, at + shard.rows)
        return pa.table({"id": [f"{x:08d}" for x in xs], "x": pa.array(xs, pa.int64())})


class Arithmetic(Stage):
    """y = x * factor; every 7th row is refused, every 11th breaks. Notes each call in `log`."""

    reads = pa.schema([("x", pa.int64())])

    def __init__(
        self, name: str, into: str, *, factor: int = 2, ms: float = 0.0, log: str = "", picky: bool = True,
        resources: Resources | None = None, version: int = 1,
    ) -> None:  # fmt: skip
        self.name, self.into, self.factor, self.ms, self.log, self.picky = name, into, factor, ms, log, picky
        self.writes = pa.schema([(into, pa.int64())])
        self.resources = resources or Resources()
        self.version = version

    def identity(self) -> dict[str, Any]:
        return {"factor": self.factor}

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        if self.log:
            with (Path(self.log) / f"{os.getpid()}.log").open("a") as file:
                file.write("".join(f"{self.name} {row['id']}\n" for row in rows))
        if self.ms:
            time.sleep(self.ms * len(rows) / 1000)
        return [self._one(row) for row in rows]

    def _one(self, row: Row) -> Outcome:
        if self.picky and row["x"] % 7 == 3:
            return Reject("seventh")
        if self.picky and row["x"] % 11 == 5:
            return Fault("eleventh", f"x = {row['x']}", retryable=True)
        return {self.into: row["x"] * self.factor}


class Poison(Stage):
    """Rows that end their worker: by os._exit, SIGSEGV or an endless loop. `always`: every row does."""

    name = "poison"
    reads = pa.schema([("x", pa.int64())])
    writes = pa.schema([("survived", pa.bool_())])

    def __init__(
        self, exits: tuple[int, ...] = (), segfaults: tuple[int, ...] = (), hangs: tuple[int, ...] = (),
        always: bool = False, ms: float = 0.0, resources: Resources | None = None,
    ) -> None:  # fmt: skip
        self.exits, self.segfaults, self.hangs, self.always, self.ms = exits, segfaults, hangs, always, ms
        self.resources = resources or Resources(actors=2)

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        if self.ms:
            time.sleep(self.ms * len(rows) / 1000)
        for row in rows:
            if self.always or row["x"] in self.exits:
                os._exit(1)
            if row["x"] in self.segfaults:
                os.kill(os.getpid(), signal.SIGSEGV)
            while row["x"] in self.hangs:
                pass
        return [{"survived": True}] * len(rows)


class Kids(Stage):
    """Three children per row, none for every 13th."""

    name = "kids"
    reads = pa.schema([("x", pa.int64())])
    writes = pa.schema([("kids", pa.list_(pa.int64()))])

    def __init__(self, ms: float = 0.0, resources: Resources | None = None) -> None:
        self.ms, self.resources = ms, resources or Resources()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        if self.ms:
            time.sleep(self.ms * len(rows) / 1000)
        return [{"kids": [] if row["x"] % 13 == 0 else [row["x"] * 10 + k for k in range(3)]} for row in rows]


class UseKid(Stage):
    """A stage after the explode."""

    name = "use_kid"
    reads = pa.schema([("kid", pa.int64())])
    writes = pa.schema([("z", pa.int64())])

    def __init__(self, ms: float = 0.0, resources: Resources | None = None) -> None:
        self.ms, self.resources = ms, resources or Resources()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        if self.ms:
            time.sleep(self.ms * len(rows) / 1000)
        return [{"z": row["kid"] + 1} for row in rows]


def two_stages(rows: int = 1000, shard_rows: int = 100, **stage: Any) -> Pipeline:
    """first -> second."""
    steps = (Arithmetic("first", "y", **stage), Arithmetic("second", "w", **{**stage, "factor": 3, "picky": False}))
    return Pipeline("test/numbers", NumberSource(rows, shard_rows), steps)


def exploding(rows: int = 300, shard_rows: int = 50, ms: float = 0.0, actors: int | None = None) -> Pipeline:
    """kids -> explode -> use_kid."""
    res = Resources(actors=actors) if actors else Resources()
    steps = (Kids(ms, res), Explode("kids", "kid"), UseKid(ms, res))
    return Pipeline("test/kids", NumberSource(rows, shard_rows), steps)


def poisoned(rows: int, shard_rows: int, **poison: Any) -> Pipeline:
    """first -> poison."""
    res = poison.get("resources")
    return Pipeline("test/poison", NumberSource(rows, shard_rows), (
        Arithmetic("first", "y", picky=False, ms=poison.get("ms", 0.0), resources=res), Poison(**poison),
    ))  # fmt: skip


def spec_of(
    root: Path | str, build: Any, version: str = "v", recipe: dict[str, Any] | None = None, **runtime: Any
) -> RunSpec:
    """A run of `build()` under `root`."""
    config = RuntimeConfig(run_root=str(root), version=version, **runtime)
    pipeline = build()
    return RunSpec(pipeline.name, version, recipe or {}, "{}\n", pipeline, build, config)


def factory(build: Any, *args: Any, **kwargs: Any) -> Any:
    """A picklable pipeline factory."""
    return functools.partial(build, *args, **kwargs)


def calls_noted(log: Path) -> list[str]:
    """Lines "stage id" of every row that any process ran."""
    return [line for file in log.glob("*.log") for line in file.read_text().splitlines()]
