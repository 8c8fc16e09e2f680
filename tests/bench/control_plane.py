"""What a shard costs beside its work: 50,000 shards of four rows through three pools that do nothing.

Baselines: plain Ray Data with the same pools and one Parquet file a shard (fewer shards, by slope), and a loop in one
process that writes the same parts without Ray, journal or commit. `parts` takes negscale's own cost of a shard apart,
in one process, so that the sum can be read against the whole.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from tests.bench.legs import Figures
from tests.bench.report import Bench, spread

STAGES = (("propose", 0.0, 1), ("verify", 0.0, 1), ("rewrite", 0.0, 1))
SHARD_ROWS = 4
ROW_BYTES = 100


def measure(bench: Bench) -> None:
    """negscale in three accelerator pools and in one CPU pool; plain Ray Data; a bare loop."""
    shards, plain_shards = bench.by_size(5_000, 50_000, 50_000), bench.by_size(400, 1_000, 2_000)
    bench.baseline = "plain ray.data map_batches + write_parquet, one block a shard; a loop that only writes the parts"
    bench.config = {"shards": shards, "plain_shards": plain_shards, "shard_rows": SHARD_ROWS, "pools": [1, 1, 1]}
    found: dict[str, list[Figures]] = {"negscale": [], "plain": [], "loop": []}
    for repeat in range(bench.by_size(1, 1, 3)):
        found["negscale"].append(bench.leg(negscale_leg, repeat=repeat, shards=shards, gpus=True))
        found["plain"].append(bench.leg(plain_leg, repeat=repeat, shards=plain_shards))
        found["loop"].append(bench.leg(loop_leg, repeat=repeat, shards=plain_shards))
    if bench.size == "full":
        found["negscale, one CPU pool"] = [bench.leg(negscale_leg, shards=shards, gpus=False)]
    for runner, legs in found.items():
        names = [name for name in ("ms_steady", "ms_total", "ms_finish") if name in legs[0]]
        bench.figures[runner] = {name: spread([leg[name] for leg in legs]) for name in names}
        bench.row(
            runner, ", ".join(f"{name[3:]} {bench.figures[runner][name]['median']:.2f} ms/shard" for name in names)
        )
    cpu = {role: spread([leg["cpu_ms"][role] for leg in found["negscale"]]) for role in found["negscale"][0]["cpu_ms"]}
    bench.figures["negscale_cpu_ms"] = cpu
    total = sum(value["median"] for value in cpu.values())
    shares = ", ".join(f"{role} {value['median']:.2f}" for role, value in cpu.items())
    bench.row("  CPU a shard, all processes", f"{total:.2f} ms: {shares}")
    parts = bench.leg(parts_leg, shards=bench.by_size(500, 2_000, 5_000))
    bench.figures["parts_ms"] = parts["parts_ms"]
    for name, value in parts["parts_ms"].items():
        bench.row(f"  {name}", f"{value['wall']:.2f} ms/shard in one process ({value['cpu']:.2f} ms of CPU)")
    ours = bench.figures["negscale"]
    bench.target("control plane, steady, ms a shard", ours["ms_steady"]["median"], 5.0, "at_most")
    bench.target("control plane, all but start-up, ms a shard", ours["ms_total"]["median"], 5.0, "at_most")


def _cluster() -> None:
    import ray

    ray.init(
        address="local", resources={"fakegpu": 3}, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        object_store_memory=1 << 30,
    )  # fmt: skip


def negscale_leg(shards: int, gpus: bool, work: str) -> Figures:
    """The whole run, from an empty folder to the manifest."""
    import ray

    from negscale.executors.drive import generate
    from negscale.executors.ray_data import RayDataExecutor
    from negscale.storage.parts import Commit
    from tests.bench.memory import cpu_between, cpu_by_process
    from tests.bench.simulated import Clock, parts_by_time, simulated, spec_of, steady_rate

    class CpuClock(Clock):
        """CPU seconds of every role at one and at four fifths of the shards, all workers still there."""

        used: dict[int, dict[str, float]] = {}

        def committed(self, commit: Commit) -> None:
            super().committed(commit)
            if len(self.commits) in (shards // 5, 4 * shards // 5):
                self.used[len(self.commits)] = cpu_by_process()

    _cluster()
    stages = STAGES if gpus else tuple((name, ms, None) for name, ms, _ in STAGES)
    build = functools.partial(simulated, "tiny", shards * SHARD_ROWS, SHARD_ROWS, ROW_BYTES, stages, "", gpus)
    spec, clock = spec_of(build, work), CpuClock()
    began = time.time()
    manifest = generate(spec, RayDataExecutor(), spec.pipeline.source.list(), clock)
    ended = time.time()
    ray.shutdown()
    parts = parts_by_time(f"{spec.uri}/data", 1)
    if manifest.shards != shards or len(parts) != shards:
        raise AssertionError(f"{manifest.shards} shards in the manifest, {len(parts)} parts, expected {shards}")
    early, late = clock.used[shards // 5], clock.used[4 * shards // 5]
    return {
        "ms_steady": 1000 / steady_rate(parts), "ms_total": (ended - parts[0][0]) / shards * 1000,
        "ms_finish": (ended - clock.ended_at) / shards * 1000, "start_s": parts[0][0] - began, "wall_s": ended - began,
        "cpu_ms": {role: 1000 * used / (shards * 3 // 5) for role, used in cpu_between(early, late).items()},
    }  # fmt: skip


def plain_leg(shards: int, work: str) -> Figures:
    """Plain Ray Data: rows as rows, a block and a file for each shard."""
    import pyarrow as pa
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    from tests.bench.simulated import parts_by_time, payload_rows, steady_rate

    _cluster()
    DataContext.get_current().enable_progress_bars = False

    def make(batch: pa.Table) -> pa.Table:
        return pa.table(payload_rows(batch["id"][0].as_py(), len(batch), ROW_BYTES))

    class Gpu:
        def __init__(self, stage: str) -> None:
            self.stage = stage

        def __call__(self, batch: pa.Table) -> pa.Table:
            return batch.append_column(
                f"{self.stage}_out", pa.array([x + 1 for x in batch["x"].to_pylist()], pa.int64())
            )

    began = time.time()
    dataset = ray.data.range(shards * SHARD_ROWS, override_num_blocks=shards)
    dataset = dataset.map_batches(make, batch_size=None, batch_format="pyarrow", num_cpus=0.25)
    for stage, _, workers in STAGES:
        dataset = dataset.map_batches(
            Gpu, fn_constructor_args=(stage,), batch_size=None, batch_format="pyarrow", num_cpus=0,
            resources={"fakegpu": 1}, compute=ActorPoolStrategy(size=workers),
        )  # fmt: skip
    dataset.write_parquet(f"{work}/out")
    ended = time.time()
    ray.shutdown()
    parts = parts_by_time(f"{work}/out")
    if sum(rows for _, rows in parts) != shards * SHARD_ROWS:
        raise AssertionError(f"{sum(rows for _, rows in parts)} rows in the files of {shards} shards")
    return {
        "ms_steady": SHARD_ROWS * 1000 / steady_rate(parts), "files": len(parts), "ms_total": (ended - parts[0][0]) / shards * 1000,
        "start_s": parts[0][0] - began, "wall_s": ended - began,
    }  # fmt: skip


def loop_leg(shards: int, work: str) -> Figures:
    """The least that parts cost: make the rows, write a Parquet file each, in one process."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tests.bench.simulated import payload_rows

    began = time.time()
    for number in range(shards):
        table = pa.table(payload_rows(number * SHARD_ROWS, SHARD_ROWS, ROW_BYTES))
        for stage, _, _ in STAGES:
            table = table.append_column(f"{stage}_out", pa.array([x + 1 for x in table["x"].to_pylist()], pa.int64()))
        pq.write_table(table, f"{work}/{number:07d}.parquet", compression="zstd")
    return {"ms_total": (time.time() - began) / shards * 1000}


def parts_leg(shards: int, work: str) -> Figures:
    """negscale's own work on a shard, taken apart: read, journal and stages, cells, commit and what is in it."""
    from negscale.executors.cells import Cell, pack, unpack
    from negscale.executors.job import Job, ShardReader, Task
    from negscale.executors.shard_work import ShardWorker, WorkOptions
    from negscale.storage import parts as storage_parts
    from negscale.storage.parts import commit_shard, content_digest
    from negscale.storage.run_folder import RunFolder
    from tests.bench.simulated import simulated, spec_of

    build = functools.partial(simulated, "parts", shards * SHARD_ROWS, SHARD_ROWS, ROW_BYTES, STAGES, "")
    spec, pipeline = spec_of(build, work), build()
    folder, listing = RunFolder(spec.uri).folder, build().source.list()
    reader = ShardReader(Job(build, spec.uri, "bench", spec.runtime), pipeline)
    spent: dict[str, dict[str, float]] = {}

    def timed(name: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        begin, cpu = time.perf_counter(), time.process_time()
        result = function(*arguments, **named)
        figures = spent.setdefault(name, {"wall": 0.0, "cpu": 0.0})
        figures["wall"] += (time.perf_counter() - begin) / shards * 1000
        figures["cpu"] += (time.process_time() - cpu) / shards * 1000
        return result

    def through(workers: list[ShardWorker], shard: str, table: Any) -> Any:
        for worker in workers:
            table = worker.run(shard, table, {})
        return table

    def workers(journal: bool) -> list[ShardWorker]:
        options = WorkOptions("bench", 1800.0, journal=journal)
        return [ShardWorker(folder, pipeline, [number], options) for number in range(len(STAGES))]

    journaled, plain = workers(True), workers(False)
    for number, shard in enumerate(listing.shards):
        table, _ = timed("read", reader.read, Task(shard, number))
        timed("three stages without journal", through, plain, shard.name, table)
        done = timed("three stages with journal", through, journaled, shard.name, table)
        block = timed("pack a cell", pack, Cell(shard.name, 0, len(done), done))
        (cell,) = timed("unpack a cell", lambda found=block: list(unpack(found)))
        timed("digest of the rows", content_digest, cell.table)
        commit, _ = timed("commit_shard, all", commit_shard, folder, shard.name, 0, cell.table, rows_read=SHARD_ROWS)
        data = timed("Parquet in memory", storage_parts._parquet, cell.table, commit)
        timed("durable put_if_absent", folder.put_if_absent, f"other/{shard.name}.parquet", data)
        timed("read the commit again", storage_parts.read_commit, folder, shard.name, 0)
    return {"parts_ms": spent}
