"""The stage: for each row, what it adds, why it is refused, or what broke.

The one page to read first. `apply_stage` is the only place that decides what an outcome does to a row, and
holds the only blind ``except`` of the code base: a stage may be written as if nothing ever failed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa

from negscale.core.arrow import compute as pc
from negscale.core.errors import FatalError, IllModelError
from negscale.core.rng import seed_for
from negscale.core.schema import FAULT, REJECTION

Row: TypeAlias = Mapping[str, Any]
WAKE = "_wake"  # in a retry: the index of the step at which a quarantined row runs again; dropped at the commit
TRIED = "_tried"  # in a retry: which one it is, from 1: a stage that draws then draws anew; dropped at the commit
ILL_FROM_ROWS = 16  # fewer rows that all break alike may be chance; this many blame the model


@dataclass(frozen=True, slots=True)
class Reject:
    """The data says no: the object is in the picture, the judge refuses the edit."""

    reason: str
    keep: Row | None = None  # columns worth keeping all the same, e.g. the score that refused the row


@dataclass(frozen=True, slots=True)
class Fault:
    """Something broke on this row: bad bytes, an unparsable answer, a timeout."""

    kind: str
    message: str
    retryable: bool = False


Outcome = Row | Reject | Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one worker of a stage needs. Never part of a recipe's fingerprint."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float = 0.0
    custom: Mapping[str, float] | None = None  # Ray custom resources a worker holds, e.g. {"fakegpu": 1}
    actors: int | tuple[int, int] | None = None  # fixed, elastic (min, max), or None: the executor sizes the pool
    calls: int = 1  # `process` calls a worker runs at once, one shard each (a batching engine likes several)
    batch_rows: int = 64  # rows handed to one `process` call
    shard_timeout_s: float = 1800.0  # a worker that needs longer for one shard counts as hung and is replaced
    row_ms: float | None = None  # expected service time a row; sizes automatic pools


class Stage(ABC):
    """One step from rows to outcomes. Runs under any executor; knows none."""

    name: str  # snake_case verb phrase; appears in rejection, quarantine, manifest
    version: int = 1  # bump when the meaning of the output changes
    reads: pa.Schema  # columns handed to process() beside `id`
    writes: pa.Schema  # columns added; each has exactly one writer in a pipeline
    resources: Resources = Resources()
    ill_when_all_fail: bool = (
        True  # a shard whose rows all break alike stops the run; off where the outside can do that
    )

    def identity(self) -> Mapping[str, Any]:
        """What bears on the output beside name and version (prompt texts, thresholds); JSON values."""
        return {}

    def setup(self) -> None:  # noqa: B027 - optional hook
        """Once per worker process: build the backend, load weights."""

    @abstractmethod
    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        """One outcome per row, in order. Retry-safe: no effects outside the return value."""

    def close(self) -> None:  # noqa: B027 - optional hook
        """Once, before the worker goes."""


def row_seed(seed: int, row: Row, *keys: str | int) -> int:
    """The seed of a row for `keys` (stage, attempt); in a retry it is another one than before, and the same on every cluster.

    >>> row_seed(0, {"id": "r"}, "s", 2) == seed_for(0, "r", "s", 2) != row_seed(0, {"id": "r", TRIED: 1}, "s", 2)
    True
    """
    tried = row.get(TRIED) or 0
    return seed_for(seed, row["id"], *((tried,) if tried else ()), *keys)


def healthy_mask(table: pa.Table, step: int = 0) -> pa.Array:
    """bool[N]: the rows that step number `step` is to process."""
    mask = pc.and_(pc.is_null(table["rejection"]), pc.is_null(table["quarantine"]))
    if WAKE in table.column_names:
        mask = pc.and_(mask, pc.less_equal(table[WAKE], step))
    return mask.combine_chunks() if isinstance(mask, pa.ChunkedArray) else mask


def apply_stage(stage: Stage, table: pa.Table, step: int = 0) -> pa.Table:
    """Run `stage` over the healthy rows of `table`; refused and faulty rows pass through.

    The row count, the order and the schema of the result do not depend on the outcomes.
    Raises IllModelError when every row (16 or more) broke in the same way.
    """
    live = pc.indices_nonzero(healthy_mask(table, step)).to_pylist()
    added = {
        f.name: table[f.name].to_pylist() if f.name in table.column_names else [None] * len(table) for f in stage.writes
    }
    outcomes: list[Outcome] = []
    if live:
        names = list(dict.fromkeys(["id", *stage.reads.names, *({TRIED} & set(table.column_names))]))
        rows = table.select(names).take(pa.array(live, pa.int64())).to_pylist()
        size = max(1, stage.resources.batch_rows)
        for start in range(0, len(rows), size):
            outcomes += _guarded(stage, rows[start : start + size])
        if stage.ill_when_all_fail:
            _stop_if_ill(stage, outcomes)
    refused: dict[int, Any] = {}
    broken: dict[int, Any] = {}
    for i, outcome in zip(live, outcomes, strict=True):
        match outcome:
            case Reject(reason, keep):
                refused[i] = {"stage": stage.name, "reason": reason}
                for name, value in (keep or {}).items():
                    added[name][i] = value
            case Fault(kind, message, retryable):
                broken[i] = {"stage": stage.name, "kind": kind, "message": _clip(message), "retryable": retryable}
            case _:
                for name, column in added.items():
                    column[i] = outcome[name]
    table = _marked(table, pa.field("rejection", REJECTION), refused)
    table = _marked(table, pa.field("quarantine", FAULT), broken)
    for field in stage.writes:
        table = set_column(table, field, added[field.name])
    return table


def _marked(table: pa.Table, field: pa.Field, marks: Mapping[int, Any]) -> pa.Table:
    """`table` with `marks` at their rows of an envelope column; most shards have none, and keep the column they have."""
    if not marks:
        return table
    column: list[Any] = table[field.name].to_pylist()
    for i, mark in marks.items():
        column[i] = mark
    return set_column(table, field, column)


def _guarded(stage: Stage, rows: Sequence[Row]) -> Sequence[Outcome]:
    try:
        outcomes = stage.process(rows)
        if len(outcomes) != len(rows):
            raise AssertionError(f"stage {stage.name!r} gave {len(outcomes)} outcomes for {len(rows)} rows")
        _check_fit(stage, outcomes)
        return outcomes
    except (FatalError, IllModelError):  # the worker or the model is unusable: let the executor act
        raise
    except Exception as error:  # noqa: BLE001 - one poisoned row must not sink its batch: halve and try again
        if len(rows) == 1:
            return [Fault(type(error).__name__, str(error))]
        middle = len(rows) // 2
        return [*_guarded(stage, rows[:middle]), *_guarded(stage, rows[middle:])]


def _check_fit(stage: Stage, outcomes: Sequence[Outcome]) -> None:
    """Raises when a value does not fit its declared column; the rows are then halved until the one is found."""
    for field in stage.writes:
        # a column at once: an Arrow scalar a value costs ten times as much
        pa.array([outcome[field.name] for outcome in outcomes if not isinstance(outcome, (Reject, Fault))], field.type)
    for outcome in outcomes:
        if isinstance(outcome, Reject):
            for name, value in (outcome.keep or {}).items():
                pa.scalar(value, stage.writes.field(name).type)


def _stop_if_ill(stage: Stage, outcomes: Sequence[Outcome]) -> None:
    kinds = {o.kind if isinstance(o, Fault) else None for o in outcomes}
    if len(outcomes) >= ILL_FROM_ROWS and len(kinds) == 1 and None not in kinds:
        first = outcomes[0]
        assert isinstance(first, Fault)
        raise IllModelError(
            f"stage {stage.name!r}: all {len(outcomes)} rows of a shard failed alike ({first.kind}: "
            f"{_clip(first.message, 300)}). The model, its weights or the paths it reads are at fault, not the rows: "
            f"mend them and run the same command again; finished shards are kept."
        )


def set_column(table: pa.Table, field: pa.Field, values: Sequence[Any] | pa.Array) -> pa.Table:
    """`table` with column `field` appended or replaced."""
    array = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values, field.type)
    at = table.schema.get_field_index(field.name)
    return table.append_column(field, array) if at < 0 else table.set_column(at, field, array)


def _clip(text: str, length: int = 2000) -> str:
    # a lone surrogate cannot be stored as UTF-8, and a message must never sink the row that it explains
    return text[:length].encode("utf-8", "replace").decode()
