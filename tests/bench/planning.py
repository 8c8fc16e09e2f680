"""Planning and resuming a run over 1,200 Parquet files with 12,000,000 rows: footers are read, rows are not.

Timed is everything between the call and the moment an executor is handed its tasks: config, listing, statistics,
fingerprint, run folder, lock, what is committed; then, apart, Ray's plan over these tasks. Baseline:
`pyarrow.dataset` counting the rows of the same files. The files are made once and kept in the temporary folder.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench.legs import Figures, peak_rss_mb
from tests.bench.report import Bench, spread

RECIPE = "negationclip_p1"


def measure(bench: Bench) -> None:
    """Count (baseline), plan anew, resume half done; interleaved."""
    files, rows = bench.by_size((60, 10_000), (1_200, 10_000), (1_200, 10_000))
    bench.baseline = "pyarrow.dataset(files).count_rows(): reads the same footers"
    bench.config = {
        "files": files,
        "rows": files * rows,
        "shard_rows": 512,
        "cache": "warm: the files were just listed once",
    }
    folder = _files(files, rows)
    resumed = _half_done(folder, files)
    found: dict[str, list[Figures]] = {"count": [], "plan": [], "resume": []}
    for repeat in range(bench.by_size(1, 3, 5)):
        found["count"].append(bench.leg(count_leg, repeat=repeat, folder=str(folder)))
        found["plan"].append(bench.leg(plan_leg, repeat=repeat, folder=str(folder), run_root=""))
        found["resume"].append(bench.leg(plan_leg, repeat=repeat, folder=str(folder), run_root=str(resumed)))
    for name, legs in found.items():
        keys = [key for key in legs[0] if key.endswith(("_s", "_mb")) and key not in ("leg_s", "driver_cpu_s")]
        bench.figures[name] = {key: spread([leg[key] for leg in legs]) for key in keys}
        bench.row(name, ", ".join(f"{key} {bench.figures[name][key]['median']:.2f}" for key in keys))
    bench.figures["shards"] = found["plan"][0]["shards"]
    bench.figures["committed_at_resume"] = found["resume"][0]["done"]
    baseline = bench.figures["count"]["wall_s"]["median"]
    for name in ("plan", "resume"):
        bench.figures[f"{name}_over_count"] = bench.figures[name]["wall_s"]["median"] / baseline
        bench.target(
            f"{name}, seconds until the executor has its tasks", bench.figures[name]["wall_s"]["max"], 10.0, "at_most"
        )
        bench.target(f"{name}, peak RSS in MB", bench.figures[name]["driver_peak_rss_mb"]["max"], 1000.0, "at_most")
    ray_plan = bench.leg(ray_plan_leg, folder=str(folder))
    bench.figures["ray_plan"] = {k: ray_plan[k] for k in ("dataset_s", "blocks", "together")}
    bench.row("Ray's plan of the tasks", f"{ray_plan['dataset_s']:.2f} s for {ray_plan['blocks']} blocks")
    together = bench.figures["plan"]["wall_s"]["max"] + ray_plan["dataset_s"]
    bench.target("plan and Ray's dataset together, s", together, 10.0, "at_most")


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """A folder below the temporary folder that is made once, whole, and reused."""
    folder = Path(tempfile.gettempdir(), "negscale-bench-planning", name)
    if not folder.is_dir():
        aside = folder.with_name(f".{name}.tmp")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        make(aside)
        aside.rename(folder)
    return folder


def _files(files: int, rows: int) -> Path:
    """Parquet files with an image path and a caption a row, each file with rows of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def make(folder: Path) -> None:
        words = ["a dog", "two people", "a red car", "an old house", "a plate of food", "some birds", "a boat"]
        captions = pa.DictionaryArray.from_arrays(
            pa.array([i % len(words) for i in range(rows)], pa.int32()), pa.array([f"a photo of {w}" for w in words])
        ).cast(pa.string())
        for number in range(files):
            first = number * rows
            images = pa.array([f"{i // 1000:05d}/{i:09d}.jpg" for i in range(first, first + rows)])
            pq.write_table(pa.table({"image": images, "caption": captions}), folder / f"part-{number:05d}.parquet")

    return _kept(f"files-{files}x{rows}", make)


def _half_done(folder: Path, files: int) -> Path:
    """A run root whose run has every second shard committed (real parts of one row each)."""
    import pyarrow as pa

    from negscale.storage.parts import commit_shard
    from negscale.storage.run_folder import RunFolder

    def make(root: Path) -> None:
        prepared = _prepare(str(folder), str(root))
        _plan(prepared)
        run = RunFolder(prepared.spec.uri)
        schema = prepared.spec.pipeline.plan()
        for shard in prepared.listing.shards[::2]:
            nulls = {f.name: pa.nulls(1, f.type) for f in schema}
            row = pa.table({**nulls, "id": pa.array([shard.name], pa.string())}, schema=schema)
            commit_shard(run.folder, shard.name, 0, row, rows_read=1)

    fingerprint = _prepare(str(folder), tempfile.gettempdir()).fingerprint  # another recipe would refuse the folder
    return _kept(f"half-{files}-{fingerprint}", make)


def _prepare(folder: str, run_root: str) -> Any:
    from negscale.app import prepare

    return prepare(RECIPE, (), (f"source={{kind: parquet, root: '{folder}'}}", f"runtime.run_root={run_root}"))


class _Stop(Exception):
    """Raised where the work would begin."""


class _Handed:
    """An executor that takes the tasks and stops."""

    def __init__(self) -> None:
        self.job: Any = None
        self.tasks: Sequence[Any] = ()

    def execute(self, job: Any, tasks: Sequence[Any], on_commit: Any) -> None:
        self.job, self.tasks = job, tasks
        raise _Stop


def _plan(prepared: Any) -> _Handed:
    from negscale.executors.drive import generate

    executor = _Handed()
    try:
        generate(prepared.spec, executor, prepared.listing)
    except _Stop:
        return executor
    raise AssertionError("the run ended before an executor had its tasks")


def count_leg(folder: str, work: str) -> Figures:
    """The baseline."""
    import pyarrow.dataset

    begin = time.perf_counter()
    rows = pyarrow.dataset.dataset(folder, format="parquet").count_rows()
    return {"wall_s": time.perf_counter() - begin, "rows": rows}


def plan_leg(folder: str, run_root: str, work: str) -> Figures:
    """From the call to the executor's tasks; imports are counted apart."""
    begin = time.perf_counter()
    import negscale.app  # noqa: F401

    imported = time.perf_counter()
    prepared = _prepare(folder, run_root or work)
    listed = time.perf_counter()
    handed = _plan(prepared)
    ended = time.perf_counter()
    shards = len(prepared.listing.shards)
    return {
        "wall_s": ended - imported, "imports_s": imported - begin, "listing_s": listed - imported, "opening_s": ended - listed,
        "shards": shards, "tasks": len(handed.tasks), "done": shards - len(handed.tasks), "peak_mb": peak_rss_mb(),
    }  # fmt: skip


def ray_plan_leg(folder: str, work: str) -> Figures:
    """What Ray needs on top before the first task can start: one small block for each few shards."""
    import ray

    from negscale.executors import ray_data
    from negscale.executors.pools import plan_pools, shards_per_block
    from negscale.executors.ray_session import cluster_of

    handed = _plan(_prepare(folder, work))
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=1 << 28,
    )
    pools = plan_pools(handed.job.factory(), cluster_of())
    together = shards_per_block(len(handed.tasks), sum(task.shard.rows for task in handed.tasks), pools)
    begin = time.perf_counter()
    ray_data._dataset(handed.job, handed.tasks, pools, together)
    dataset_s = time.perf_counter() - begin
    ray.shutdown()
    return {"dataset_s": dataset_s, "blocks": -(-len(handed.tasks) // together), "together": together}
