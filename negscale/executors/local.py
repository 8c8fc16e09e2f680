"""The local executor: a loop in this process. The reference semantics, and the quickest way to try a stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from negscale.executors.job import Job, ShardReader, Task
from negscale.executors.shard_work import ShardWorker, WorkOptions
from negscale.storage.parts import Commit, commit_shard
from negscale.storage.run_folder import RunFolder


class LocalExecutor:
    """One shard after another. A row that kills the process kills the run: use the Ray executor for such data."""

    def execute(self, job: Job, tasks: Sequence[Task], on_commit: Callable[[Commit], None]) -> None:
        folder = RunFolder(job.run_uri).folder
        pipeline = job.factory()
        options = WorkOptions(job.incarnation, job.runtime.shard_timeout_s, job.runtime.trace_dir, journal=False)
        worker = ShardWorker(folder, pipeline, range(len(pipeline.steps)), options)
        reader = ShardReader(job, pipeline)
        try:
            for task in tasks:
                table, rows_read = reader.read(task)
                timings: dict[str, dict[str, float]] = {}
                table = worker.run(task.shard.name, table, timings)
                commit, _ = commit_shard(
                    folder, task.shard.name, task.generation, table, rows_read=rows_read, stages=timings
                )
                on_commit(commit)
        finally:
            worker.close()
