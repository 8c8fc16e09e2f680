"""Streams the kept rows of finished runs into training, from a disk or an object store, without a copy.

The rows come through the same source as a recipe that reads a former run: only committed parts count, and a run that is
unfinished, over its budget, half retried or changed since it was listed is refused. Every worker decodes the parts of the
window at hand (the columns that training reads, captions and ids) and takes its own rows of each global batch; the next
window is read meanwhile. Memory is two windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config
from negscale.core.errors import AuditError, PlanError
from negscale.core.pipeline import Shard
from negscale.core.rng import seed_for
from negscale.datasets.run import RunConfig, RunSource
from negscale.training.order import WINDOW_ROWS, Cursor, EpochOrder, share

_READERS = 4
_UNIT_INTERVAL = float(1 << 63)  # what a seed is divided by to lie in [0, 1)


class TrainingRunConfig(RunConfig):
    """A finished run, and how often its rows come."""

    weight: float = Field(default=1.0, gt=0, le=100)
    """Times that each row comes in an epoch; 0.5 = half of the rows, drawn anew each epoch."""


class HoldoutConfig(Config):
    """Rows kept out of training, for the figures during it."""

    share: float = Field(default=0.0, ge=0, lt=1)
    """Of the images (or rows), drawn by a hash of their names: the same ones whatever else changes."""
    by: Literal["image", "row"] = "image"
    """`row` is NegationCLIP's released split, in which an image's other captions leak into training."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class World:
    """Which worker this is, and of how many."""

    rank: int = 0
    size: int = 1


ALONE = World()


@dataclass(frozen=True, slots=True)
class Part:
    """One committed shard of one run."""

    run: int
    shard: Shard
    rows: np.ndarray | None  # row numbers that this stream reads; None = all

    @property
    def count(self) -> int:
        """Rows that this stream reads."""
        return self.shard.rows if self.rows is None else len(self.rows)


class PartVectors(Protocol):
    """Vectors that belong to the rows of parts, e.g. the embeddings of their images."""

    def read(self, run: int, shard: Shard) -> np.ndarray: ...  # float32[R, D]; a row of NaN has none


@dataclass(frozen=True, slots=True)
class RowBatch:
    """What one worker gets of one global batch. `rows` may be fewer than `slots`; all workers have the same slots."""

    rows: list[dict[str, Any]]
    vectors: dict[str, np.ndarray]  # float32[len(rows), D]
    slots: int
    global_rows: int  # rows of the batch over all workers
    epoch: int
    after: Cursor  # where training stands once this batch is done


@dataclass(slots=True)
class RowStream:
    """Rows of several runs in an order that depends on seed and epoch alone."""

    sources: Sequence[RunSource]
    weights: Sequence[float]
    parts: Sequence[Part]
    columns: Sequence[str]
    seed: int
    window_rows: int = WINDOW_ROWS
    vectors: dict[str, PartVectors] = field(default_factory=dict)

    def order(self, epoch: int) -> EpochOrder:
        """The order of one epoch."""
        counts = [part.count for part in self.parts]
        return EpochOrder(counts, [self.weights[p.run] for p in self.parts], self.seed, epoch, self.window_rows)

    def epoch(self, cursor: Cursor, batch_rows: int, world: World = ALONE) -> Iterator[RowBatch]:
        """This worker's share of the global batches from `cursor` to the end of its epoch; the last batch may be short."""
        order = self.order(cursor.epoch)
        if not order.rows:
            raise PlanError(
                f"epoch {cursor.epoch} has no row: weights {list(self.weights)} leave nothing of so few rows"
            )
        with ThreadPoolExecutor(1, "negscale-window") as ahead:
            windows = _Windows(self, order, ahead)
            for start in range(cursor.row, order.rows, batch_rows):
                stop = min(start + batch_rows, order.rows)
                mine, slots = share(start, stop, world.rank, world.size)
                rows, vectors = windows.take(mine)
                after = Cursor(cursor.epoch, stop) if stop < order.rows else Cursor(cursor.epoch + 1, 0)
                yield RowBatch(rows, vectors, slots, stop - start, cursor.epoch, after)

    def endless(self, cursor: Cursor, batch_rows: int, world: World = ALONE) -> Iterator[RowBatch]:
        """Epoch after epoch."""
        while True:
            for batch in self.epoch(cursor, batch_rows, world):
                cursor = batch.after
                yield batch

    def ids(self, epoch: int, start: int, stop: int) -> list[str]:
        """Names of the rows at positions [start, stop) of an epoch, over all workers."""
        order = self.order(epoch)
        with ThreadPoolExecutor(1) as ahead:
            rows, _ = _Windows(self, order, ahead).take(range(start, min(stop, order.rows)))
        return [row["id"] for row in rows]

    def table(self, part: Part) -> pa.Table:
        """The rows of one part. Raises AuditError when the part is not what its run listed."""
        table = self.sources[part.run].read(part.shard, None)
        if len(table) != part.shard.rows:
            raise AuditError(
                f"shard {part.shard.name!r} of {self.sources[part.run].config.uri} holds {len(table)} rows, its commit says "
                f"{part.shard.rows}; see negscale audit"
            )
        table = table.select(list(self.columns))
        return table if part.rows is None else table.take(pa.array(part.rows))


class _Windows:
    """The window at hand as one table, and the next one on its way."""

    def __init__(self, stream: RowStream, order: EpochOrder, ahead: ThreadPoolExecutor) -> None:
        self._stream, self._order, self._ahead = stream, order, ahead
        self._held: dict[int, Future[tuple[pa.Table, dict[str, np.ndarray]]]] = {}

    def take(self, positions: range) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
        """Rows and vectors at consecutive positions."""
        rows: list[dict[str, Any]] = []
        vectors: dict[str, list[np.ndarray]] = {name: [] for name in self._stream.vectors}
        at = positions.start
        while at < positions.stop:
            number = self._order.window_of(at)
            start, end = int(self._order.starts[number]), int(self._order.starts[number + 1])
            table, found = self._window(number)
            until = min(positions.stop, end)
            rows += table.slice(at - start, until - at).to_pylist()
            for name, pieces in vectors.items():
                pieces.append(found[name][at - start : until - start])
            at = until
        return rows, {
            name: np.concatenate(pieces) if pieces else np.zeros((0, 0), np.float32) for name, pieces in vectors.items()
        }

    def _window(self, number: int) -> tuple[pa.Table, dict[str, np.ndarray]]:
        for wanted in (number, number + 1):
            if wanted < self._order.windows and wanted not in self._held:
                self._held[wanted] = self._ahead.submit(self._load, wanted)
        for old in [n for n in self._held if n < number]:
            del self._held[old]
        return self._held[number].result()

    def _load(self, number: int) -> tuple[pa.Table, dict[str, np.ndarray]]:
        stream = self._stream
        wanted = self._order.window(number)
        parts = np.unique(wanted[:, 0])
        with ThreadPoolExecutor(_READERS) as pool:
            tables = list(pool.map(lambda p: stream.table(stream.parts[p]), parts))
            vectors = {
                name: list(pool.map(lambda p, of=of: _vectors(of, stream.parts[p]), parts))
                for name, of in stream.vectors.items()
            }
        starts = np.cumsum([0, *[len(table) for table in tables]])
        flat = starts[np.searchsorted(parts, wanted[:, 0])] + wanted[:, 1]
        table = pa.concat_tables(tables).combine_chunks().take(pa.array(flat))
        return table, {name: np.concatenate(pieces)[flat] for name, pieces in vectors.items()}


def _vectors(of: PartVectors, part: Part) -> np.ndarray:
    found = of.read(part.run, part.shard)
    return found if part.rows is None else found[part.rows]


def open_streams(
    runs: Sequence[TrainingRunConfig], columns: Sequence[str], seed: int, holdout: HoldoutConfig,
    window_rows: int = WINDOW_ROWS,
) -> tuple[RowStream, RowStream | None]:  # fmt: skip
    """The rows to train on and the rows held out (None without a holdout).

    Raises PlanError when a run is unfinished, damaged, named twice or lacks a column. columns: read beside `id`.
    """
    if not runs:
        raise PlanError("data names no run; give the folder that `negscale generate` printed: data='[{uri: RUN}]'")
    named = [run.uri for run in runs]
    if twice := sorted({uri for uri in named if named.count(uri) > 1}):
        raise PlanError(f"data names {twice} twice; give one entry a weight instead")
    wanted = list(dict.fromkeys(columns))
    sources, parts = [], []
    for number, run in enumerate(runs):
        plain = RunConfig(**{name: getattr(run, name) for name in RunConfig.model_fields if name != "columns"})
        missing = [name for name in wanted if name not in plain.build().schema.names]
        if missing:
            raise PlanError(
                f"run {run.uri} has no column {missing}; this objective reads {wanted}, the run has "
                f"{plain.build().schema.names}. Train on a run of another recipe, or choose another objective"
            )
        source = plain.model_copy(update={"columns": tuple(wanted)}).build()
        sources.append(source)
        parts += [Part(number, shard, None) for shard in source.list().shards]
    weights = [run.weight for run in runs]
    make = {
        "sources": sources,
        "weights": weights,
        "columns": ["id", *wanted],
        "seed": seed,
        "window_rows": window_rows,
    }
    if not holdout.share:
        return RowStream(parts=parts, **make), None
    kept, held = _divided(sources, parts, holdout)
    return RowStream(parts=kept, **make), RowStream(parts=held, **{**make, "weights": [1.0] * len(runs)})


def _divided(
    sources: Sequence[RunSource], parts: Sequence[Part], holdout: HoldoutConfig
) -> tuple[list[Part], list[Part]]:
    """Each part's rows that train and that are held out; reads one column. Four bytes a row stay in memory."""
    key = "image_id" if holdout.by == "image" else "id"

    def draw(part: Part) -> tuple[Part, Part]:
        config = sources[part.run].config
        names = config.model_copy(update={"columns": (key,) if key != "id" else ("image_id",)}).build()
        column = names.read(part.shard, None)[key].to_pylist()
        out = np.array(
            [seed_for(holdout.seed, "holdout", name or "") / _UNIT_INTERVAL < holdout.share for name in column], bool
        )
        return (
            Part(part.run, part.shard, np.flatnonzero(~out).astype(np.uint32)),
            Part(part.run, part.shard, np.flatnonzero(out).astype(np.uint32)),
        )

    with ThreadPoolExecutor(_READERS) as pool:
        pairs = list(pool.map(draw, parts))
    return [p for p, _ in pairs if p.count], [p for _, p in pairs if p.count]
