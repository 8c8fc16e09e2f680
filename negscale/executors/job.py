"""What an executor is given: shards to do, how workers build their pipeline, where results go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from negscale.core.pipeline import Pipeline, PipelineFactory, Shard, conform
from negscale.core.runtime import RuntimeConfig
from negscale.core.schema import ENVELOPE, extend
from negscale.core.stage import TRIED, WAKE, set_column
from negscale.storage.parts import Commit, read_commit, read_part
from negscale.storage.run_folder import IndexReader, RunFolder


@dataclass(frozen=True, slots=True)
class Task:
    """One shard to do. `number` is its place in the shard list (and in the index)."""

    shard: Shard
    number: int
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Retry:
    """Which quarantined rows a retry wakes: all conditions must hold; empty = every retryable row."""

    conditions: tuple[tuple[str, str], ...] = ()  # (stage | kind | id, value)

    def wants(self, row_id: str, fault: dict[str, object]) -> bool:
        if not self.conditions:
            return bool(fault["retryable"])
        return all((row_id if name == "id" else str(fault[name])) == value for name, value in self.conditions)


@dataclass(frozen=True, slots=True)
class Job:
    """A run's work as an executor sees it. Small and picklable: it travels to every worker."""

    factory: PipelineFactory
    run_uri: str
    incarnation: str
    runtime: RuntimeConfig
    has_index: bool = False
    retry: Retry | None = None


class Executor(Protocol):
    """Carries tasks through a job's pipeline; calls `on_commit` with the commit that holds, for each finished shard."""

    def execute(self, job: Job, tasks: Sequence[Task], on_commit: Callable[[Commit], None]) -> None: ...


class ShardReader:
    """Reads a task's rows: from the source, or, in a retry, from the parts of the generation before."""

    def __init__(self, job: Job, pipeline: Pipeline) -> None:
        self._job, self._pipeline = job, pipeline
        self._run = RunFolder(job.run_uri)
        self._index = IndexReader(self._run.folder) if job.has_index else None
        self._read_schema = extend(ENVELOPE, pipeline.source.schema)

    def read(self, task: Task) -> tuple[pa.Table, int]:
        """(rows with their envelope, rows the source gave)."""
        if self._job.retry is None:
            return self._fresh(task), task.shard.rows
        return self._again(task)

    def _fresh(self, task: Task) -> pa.Table:
        rows = self._pipeline.source.read(task.shard, self._index.read(task.number) if self._index else None)
        table = conform(rows, self._read_schema)
        if len(table) != task.shard.rows:
            raise AssertionError(
                f"source read {len(table)} rows of shard {task.shard.name!r}, its listing says {task.shard.rows}"
            )
        return table

    def _again(self, task: Task) -> tuple[pa.Table, int]:
        """The whole shard; quarantined rows that the retry wants are healthy again from the step that broke on."""
        assert self._job.retry is not None
        before = read_commit(self._run.folder, task.shard.name, task.generation - 1)
        parts = [read_part(self._run.folder, kind, before) for kind in ("data", "rejected", "quarantine")]
        table = pa.concat_tables([part.replace_schema_metadata(None) for part in parts if part is not None])
        done = len(self._pipeline.steps)
        wake, faults = [done] * len(table), table["quarantine"].to_pylist()
        fresh: dict[str, int] = {}
        for i, (row_id, fault) in enumerate(zip(table["id"].to_pylist(), faults, strict=True)):
            if fault is None or not self._job.retry.wants(row_id, fault):
                continue
            if fault["stage"] == "read":
                fresh[row_id] = i
            else:
                wake[i], faults[i] = self._pipeline.step_number(fault["stage"]), None
        table = set_column(table, ENVELOPE.field("quarantine"), pa.array(faults, ENVELOPE.field("quarantine").type))
        table = set_column(table, pa.field(WAKE, pa.int64()), wake)
        table = set_column(table, pa.field(TRIED, pa.int64()), [task.generation] * len(table))
        if fresh:
            table = self._reread(task, table, fresh)
        return table, before.rows_read

    def _reread(self, task: Task, table: pa.Table, at: dict[str, int]) -> pa.Table:
        """Rows that broke while being read come from the source anew."""
        rows = conform(self._fresh(task), table.schema)
        rows = set_column(rows, pa.field(WAKE, pa.int64()), [0] * len(rows))
        rows = set_column(rows, pa.field(TRIED, pa.int64()), [task.generation] * len(rows))
        picked = [i for i, row_id in enumerate(rows["id"].to_pylist()) if row_id in at]
        if len(picked) != len(at):  # the source names them otherwise by now: keep what there is
            return table
        kept = [i for i in range(len(table)) if i not in set(at.values())]
        return pa.concat_tables([table.take(pa.array(kept, pa.int64())), rows.take(pa.array(picked, pa.int64()))])
