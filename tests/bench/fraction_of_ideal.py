"""How much of the slowest pool's own speed a whole run reaches, with simulated GPUs (4, 16 and 4 ms a row, 8 on the 16).

Ideal: the 16 ms pool alone, eight bare Ray actors that only sleep through the same shards, measured in the same run.
Beside it: plain Ray Data at its documented best for this job (fixed pools, one block a shard, batch = block, no block
splitting) with `write_parquet`, which keeps no account of what is done.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

from tests.bench.legs import Figures
from tests.bench.report import Bench, spread

STAGES = (("propose", 4.0, None), ("verify", 16.0, 8), ("rewrite", 4.0, None))
SLOW, SLOW_MS, SLOW_WORKERS = "verify", 16.0, 8
FAKE_GPUS = 16
SHARD_ROWS = 256
ROW_BYTES = 2000
POOLS = {
    "propose": 3,
    "verify": 8,
    "rewrite": 3,
}  # what plan_pools answers; checked in the leg, used for plain Ray Data


def measure(bench: Bench) -> None:
    """Bare pool, negscale, plain Ray Data; interleaved when repeated."""
    seconds, plain_seconds = bench.by_size(40, 300, 300), bench.by_size(40, 150, 300)
    bare_seconds = bench.by_size(20, 45, 60)
    repeats = bench.by_size(1, 1, 3)
    bench.baseline = "bare actors on the 16 ms pool (ideal); plain ray.data map_batches + write_parquet"
    bench.config = {
        "stages_ms": {name: ms for name, ms, _ in STAGES}, "fake_gpus": FAKE_GPUS, "shard_rows": SHARD_ROWS,
        "row_bytes": ROW_BYTES, "ideal_seconds": seconds, "plain_ideal_seconds": plain_seconds, "pools": POOLS,
        "steady": "20 % to 90 % of the slow stage's rows",
    }  # fmt: skip
    found: dict[str, list[Figures]] = {"bare": [], "negscale": [], "plain": []}
    for repeat in range(repeats):
        found["bare"].append(bench.leg(bare_leg, repeat=repeat, shards=_shards(bare_seconds)))
        found["negscale"].append(bench.leg(negscale_leg, repeat=repeat, shards=_shards(seconds)))
        found["plain"].append(bench.leg(plain_leg, repeat=repeat, shards=_shards(plain_seconds)))
    ideals = [leg["rows_s_steady"] for leg in found["bare"]]
    bench.figures["ideal_rows_s"] = spread(ideals)
    bench.row("ideal (bare pool)", f"{bench.figures['ideal_rows_s']['median']:.1f} rows/s")
    for runner in ("negscale", "plain"):
        figures = _against(found[runner], ideals)
        bench.figures[runner] = figures
        median = {name: value["median"] for name, value in figures.items()}
        bench.row(
            runner, f"steady {median['fraction_steady']:.3f} (commits {median['fraction_commits']:.3f}), wall "
            f"{median['fraction_wall']:.3f} over {median['wall_s']:.0f} s, slow stage busy {median['busy']:.3f}, first slow "
            f"batch after {median['first_batch_s']:.0f} s, driver {median['driver_cpu_s']:.1f} CPU-s",
        )  # fmt: skip
    ours = bench.figures["negscale"]
    bench.figures["steady_over_plain"] = (
        ours["fraction_steady"]["median"] / bench.figures["plain"]["fraction_steady"]["median"]
    )
    bench.target("steady fraction of ideal (slow stage's work)", ours["fraction_steady"]["median"], 0.95, "at_least")
    bench.target("steady fraction of ideal (commit times)", ours["fraction_commits"]["median"], 0.95, "at_least")
    if bench.size != "quick":  # start-up is most of a short run's loss
        bench.target("wall-clock fraction of ideal", ours["fraction_wall"]["median"], 0.75, "at_least")


def _shards(seconds: float) -> int:
    """Shards that the slow pool alone does in so many seconds; every worker gets as many, so none idles at the end."""
    return SLOW_WORKERS * round(seconds / (SLOW_MS / 1000 * SHARD_ROWS))


def _against(legs: list[Figures], ideals: list[float]) -> dict[str, Any]:
    pairs = list(zip(legs, ideals, strict=True))
    return {
        "fraction_steady": spread([leg["rows_s_steady"] / ideal for leg, ideal in pairs]),
        "fraction_commits": spread([leg["rows_s_commits"] / ideal for leg, ideal in pairs]),
        "fraction_wall": spread([leg["rows"] / leg["wall_s"] / ideal for leg, ideal in pairs]),
        **{
            name: spread([leg[name] for leg, _ in pairs])
            for name in ("wall_s", "busy", "first_batch_s", "ramp_s", "driver_cpu_s")
        },
    }


def _cluster() -> float:
    """A local cluster with the real cores and simulated GPUs; seconds it took to start."""
    import ray

    begin = time.time()
    ray.init(
        address="local", resources={"fakegpu": FAKE_GPUS}, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR", object_store_memory=1 << 30,
    )  # fmt: skip
    return time.time() - begin


def _folders(work: str) -> tuple[str, str]:
    for name in ("log", "out"):
        Path(work, name).mkdir()
    return str(Path(work, "log")), str(Path(work, "out"))


def _figures(log: str, out: str, began: float, rows: int, **more: Any) -> Figures:
    from tests.bench.simulated import events, parts_by_time, steady_rate, work_figures

    ended = time.time()
    figures = work_figures(log, SLOW, SLOW_WORKERS)
    seen, ramp_at = 0, ended
    for _, end, batch in events(log, SLOW):  # when a second's worth of full speed is done
        seen += batch
        if seen >= SLOW_WORKERS * 1000 / SLOW_MS:
            ramp_at = end
            break
    return {
        **figures, "rows": rows, "wall_s": ended - began, "first_batch_s": figures["first_batch_at"] - began,
        "ramp_s": ramp_at - began, "rows_s_commits": steady_rate(parts_by_time(out)), **more,
    }  # fmt: skip


def bare_leg(shards: int, work: str) -> Figures:
    """The ideal: eight actors, two shards in flight each, nothing but sleep."""
    import ray

    from tests.bench.simulated import simulate, work_figures

    log, _ = _folders(work)
    start_s = _cluster()

    class Sleeper:
        def run(self, rows: int) -> int:
            simulate(SLOW, rows, SLOW_MS, log)
            return rows

    remote = ray.remote(num_cpus=0, resources={"fakegpu": 1})(Sleeper)
    actors: list[Any] = [remote.remote() for _ in range(SLOW_WORKERS)]
    ray.get([actor.run.remote(0) for actor in actors])  # all are up
    began, left, running = time.time(), shards, {}
    for actor in actors * 2:
        if left:
            running[actor.run.remote(SHARD_ROWS)] = actor
            left -= 1
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        actor = running.pop(done)
        if left:
            running[actor.run.remote(SHARD_ROWS)] = actor
            left -= 1
    wall_s = time.time() - began
    ray.shutdown()
    return {
        **work_figures(log, SLOW, SLOW_WORKERS),
        "rows": shards * SHARD_ROWS,
        "wall_s": wall_s,
        "ray_start_s": start_s,
    }


def negscale_leg(shards: int, work: str) -> Figures:
    """The Ray executor; it sizes the pools beside the slow one itself."""
    import ray

    from negscale.executors.drive import generate
    from negscale.executors.pools import plan_pools
    from negscale.executors.ray_data import RayDataExecutor
    from negscale.executors.ray_session import cluster_of
    from tests.bench.simulated import simulated, spec_of

    log, out = _folders(work)
    rows = shards * SHARD_ROWS
    start_s = _cluster()
    build = functools.partial(simulated, "ideal", rows, SHARD_ROWS, ROW_BYTES, STAGES, log)
    pools = {pool.names[0]: pool.most for pool in plan_pools(build(), cluster_of())}
    began = time.time()
    spec = spec_of(build, out)
    manifest = generate(spec, RayDataExecutor(), spec.pipeline.source.list())
    if manifest.rows_kept != rows:
        raise AssertionError(f"{manifest.rows_kept} of {rows} rows kept")
    figures = _figures(log, f"{spec.uri}/data", began, rows, ray_start_s=start_s, pools=pools)
    ray.shutdown()
    return figures


def plain_leg(shards: int, work: str) -> Figures:
    """Plain Ray Data, tuned: fixed pools, one block a shard, batch = block."""
    import pyarrow as pa
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    from tests.bench.simulated import payload_rows, simulate

    log, out = _folders(work)
    rows = shards * SHARD_ROWS
    start_s = _cluster()
    context = DataContext.get_current()
    context.target_max_block_size = None
    context.enable_progress_bars = False

    def make(batch: pa.Table) -> pa.Table:
        return pa.table(payload_rows(batch["id"][0].as_py(), len(batch), ROW_BYTES))

    class Gpu:
        def __init__(self, stage: str, row_ms: float) -> None:
            self.stage, self.row_ms = stage, row_ms

        def __call__(self, batch: pa.Table) -> pa.Table:
            simulate(self.stage, len(batch), self.row_ms, log)
            return batch.append_column(
                f"{self.stage}_out", pa.array([x + 1 for x in batch["x"].to_pylist()], pa.int64())
            )

    began = time.time()
    dataset = ray.data.range(rows, override_num_blocks=shards)
    dataset = dataset.map_batches(make, batch_size=None, batch_format="pyarrow", num_cpus=0.25)
    for stage, row_ms, _ in STAGES:
        dataset = dataset.map_batches(
            Gpu, fn_constructor_args=(stage, row_ms), batch_size=SHARD_ROWS, batch_format="pyarrow", num_cpus=0,
            resources={"fakegpu": 1}, compute=ActorPoolStrategy(size=POOLS[stage]),
        )  # fmt: skip
    dataset.write_parquet(out)
    figures = _figures(log, out, began, rows, ray_start_s=start_s)
    ray.shutdown()
    return figures
