"""The Ray Data executor: one Ray row is one shard, stages are actor pools, the commit is the last map.

Whatever block sizes, bundling or Ray version do, a shard stays whole; actor and task retries only ever run the same
shard again, and the first commit wins. See the attempt journal for rows that kill their worker.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import ray
import ray.data
import ray.exceptions
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

from negscale.core.errors import FatalError, NegscaleError
from negscale.core.pipeline import Shard
from negscale.executors.cells import Cell, pack, unpack
from negscale.executors.job import Job, ShardReader, Task
from negscale.executors.pools import IO_CPUS, Pool, plan_pools, shards_per_block
from negscale.executors.ray_session import living_nodes, ray_session
from negscale.executors.shard_work import ShardWorker, WorkOptions
from negscale.storage.parts import Commit, commit_shard
from negscale.storage.run_folder import RunFolder

_FATAL_EXIT = 17
_SHARDS_A_READ = 16


class RayDataExecutor:
    """Runs tasks on the cluster that `job.runtime` names, or on a private local one."""

    def execute(self, job: Job, tasks: Sequence[Task], on_commit: Callable[[Commit], None]) -> None:
        if not tasks:
            return
        pipeline = job.factory()
        with ray_session(job.runtime) as cluster:
            pools = plan_pools(pipeline, cluster)
            rows = sum(task.shard.rows for task in tasks)
            together = job.runtime.shards_per_block or shards_per_block(len(tasks), rows, pools)
            dataset = _dataset(job, tasks, pools, together)
            try:
                batches: Any = dataset.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow")
                for batch in batches:
                    for text in batch["commit"].to_pylist():
                        on_commit(Commit(**json.loads(text)))
            except ray.exceptions.RayError as error:
                raise _our_error(error) from error


def _dataset(job: Job, tasks: Sequence[Task], pools: Sequence[Pool], together: int) -> ray.data.Dataset:
    context = DataContext.get_current()
    # one shard a block: a read task streams its shards one by one, and no stage waits for a block to fill; tiny shards
    # stay together (no output splitting)
    context.target_max_block_size = 1 if together == 1 else None
    context.enable_progress_bars = False  # ours counts rows; Ray's would count blocks
    context.print_on_execution_start = False
    context.actor_init_retry_on_errors = True
    context.max_consecutive_actor_init_deaths = 3  # a bad node is survived, a broken stage stops the run
    context.execution_no_progress_timeout_s = max(1800.0, 2 * job.runtime.shard_timeout_s)
    items = [
        {
            "shard": t.shard.name,
            "rows": t.shard.rows,
            "where": t.shard.where,
            "number": t.number,
            "generation": t.generation,
        }
        for t in tasks
    ]
    # Ray puts every input block into its store, 0.8 ms each, before anything starts: so an input block names several
    # shards (from_arrow would run a Ray task for each block, just to count its rows)
    io_slots = max(2, math.ceil(sum(pool.most for pool in pools) / 4))
    a_read = together if together > 1 else max(1, min(_SHARDS_A_READ, len(tasks) // (4 * io_slots)))
    dataset = ray.data.from_items(items, override_num_blocks=math.ceil(len(tasks) / a_read))
    read: Any = functools.partial(_read, job=job)
    commit: Any = functools.partial(_commit, job=job)
    # bounded: before the pools are up every core is free, and a worker process for each read would slow their start
    io_tasks = TaskPoolStrategy(size=io_slots)
    dataset = dataset.map_batches(read, batch_size=None, batch_format="pyarrow", num_cpus=IO_CPUS, compute=io_tasks)
    for pool in pools:
        dataset = dataset.map_batches(
            _PoolWorker, fn_constructor_kwargs={"job": job, "steps": pool.steps}, batch_size=None, batch_format="pyarrow",
            num_cpus=pool.cpus, num_gpus=pool.gpus or None, resources=dict(pool.custom) or None,
            memory=pool.memory_gb * 1e9 or None, compute=_strategy(pool),
        )  # fmt: skip
    return dataset.map_batches(commit, batch_size=None, batch_format="pyarrow", num_cpus=IO_CPUS, compute=io_tasks)


def _strategy(pool: Pool) -> ActorPoolStrategy:
    calls: dict[str, Any] = {}
    if pool.calls > 1:
        # several shards at once in one worker, each in its own thread: an engine that batches never drains
        calls = {
            "max_concurrent_calls_per_actor": pool.calls, "max_tasks_in_flight_per_actor": 2 * pool.calls,
            "enable_true_multi_threading": True,
        }  # fmt: skip
    if isinstance(pool.actors, int):
        return ActorPoolStrategy(size=pool.actors, **calls)
    return ActorPoolStrategy(min_size=pool.actors[0], max_size=pool.actors[1], initial_size=pool.actors[0], **calls)


_readers: dict[str, ShardReader] = {}


def _reader(job: Job) -> ShardReader:
    """One reader per process and driver: the source may keep an index or a file open between shards."""
    if job.incarnation not in _readers:
        _readers.clear()
        _readers[job.incarnation] = ShardReader(job, job.factory())
    return _readers[job.incarnation]


def _read(batch: pa.Table, job: Job) -> Iterator[pa.Table]:
    for row in batch.to_pylist():
        task = Task(Shard(row["shard"], row["rows"], row["where"]), row["number"], row["generation"])
        table, rows_read = _reader(job).read(task)
        yield pack(Cell(task.shard.name, task.generation, rows_read, table))


class _PoolWorker:
    """A worker process of one pool."""

    def __init__(self, job: Job, steps: Sequence[int]) -> None:
        node = ray.get_runtime_context().get_node_id()
        options = WorkOptions(
            job.incarnation, job.runtime.shard_timeout_s, job.runtime.trace_dir, node=node, forgiven=_node_is_lost
        )
        try:
            self._worker = ShardWorker(RunFolder(job.run_uri).folder, job.factory(), steps, options)
        except FatalError as error:
            _end_process(error)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for cell in unpack(batch):
            try:
                cell.table = self._worker.run(cell.shard, cell.table, cell.timings)
            except FatalError as error:
                # a raised error would be retried on this same broken worker; a dead one is replaced
                _end_process(error)
            yield pack(cell)


def _node_is_lost(node: str) -> bool:
    return node not in living_nodes()


def _end_process(error: Exception) -> None:
    print(f"negscale worker ends: {error}", file=sys.stderr, flush=True)
    os._exit(_FATAL_EXIT)


@functools.lru_cache(maxsize=2)
def _folder(uri: str) -> RunFolder:
    return RunFolder(uri)


def _commit(batch: pa.Table, job: Job) -> pa.Table:
    folder = _folder(job.run_uri).folder
    records = []
    for cell in unpack(batch):
        commit, _ = commit_shard(
            folder, cell.shard, cell.generation, cell.table, rows_read=cell.rows_read, stages=cell.timings
        )
        records.append(json.dumps(asdict(commit)))
    return pa.table({"commit": records})


def _our_error(error: BaseException) -> NegscaleError:
    """Our own error inside Ray's wrapping, or Ray's with what to do."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, NegscaleError):
            return type(seen)(str(seen))
        cause = getattr(seen, "cause", None)
        seen = cause if isinstance(cause, BaseException) and cause is not seen else (seen.__cause__ or seen.__context__)
    return FatalError(
        f"Ray stopped the run: {error}. Finished shards are kept; run the same command again when the cause is mended."
    )
