"""The fetch recipe against a bare aiohttp loop that throws bodies away, and against img2dataset, from one local server.

The recipe and img2dataset have two processes each, as on a machine of two cores, the loop has its one; connections are as
many in all. A worker of the recipe does all of its work: read the list, fetch, check, hash, store, commit, several
shards at once, as under Ray (whose own start and work are not measured here). Libraries are loaded and one small shard is
done before the clock starts. img2dataset has its fastest settings: no resize, no re-encoding; it is timed by its own
statistics, without its start. Name its executable in NEGSCALE_IMG2DATASET, or have it on the PATH; else that leg is left
out. Name look-ups, TLS and distance cost nothing here: what is measured is the client's own work an image.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from tests.bench.legs import REPO, Figures, LegError
from tests.bench.report import Bench, spread

BODY_BYTES = 50_000  # CC12M's median is of that order
CONCURRENCY = 64  # requests in flight, over all processes
WORKERS = 2
SHARD_ROWS = 500
WARM_ROWS = 20


def measure(bench: Bench) -> None:
    """Legs in turn, ratios of their medians; then the memory of 1 x and 4 x as many rows.

    A worker holds up to BATCHES spools of bodies, each full at a time of its own: the peak is the highest of a sum that
    goes up and down, and is near its bound only after some dozens of shards. So 1 x is that many.
    """
    rows, repeats = bench.by_size(1_000, 5_000, 20_000), bench.by_size(1, 3, 5)
    settled = bench.by_size(4_000, 20_000, 20_000)
    bench.baseline = "an aiohttp loop with the same concurrency that reads every body and keeps none"
    bench.config = {
        "rows": rows,
        "body_bytes": BODY_BYTES,
        "concurrency": CONCURRENCY,
        "workers": WORKERS,
        "shard_rows": SHARD_ROWS,
    }
    rival = img2dataset_executable()
    found: dict[str, list[Figures]] = {"bare": [], "negscale": [], "img2dataset": []}
    for repeat in range(repeats):
        found["bare"].append(bench.leg(bare_leg, repeat=repeat, rows=rows))
        found["negscale"].append(bench.leg(negscale_leg, repeat=repeat, rows=rows))
        if rival:
            found["img2dataset"].append(bench.leg(img2dataset_leg, repeat=repeat, rows=rows, executable=rival))
    for name, legs in found.items():
        if legs:
            speed = spread([leg["rows_s"] for leg in legs])
            bench.figures[name] = {"rows_s": speed, "peak_rss_mb": max(leg["peak_rss_mb"] for leg in legs)}
            cpu = f", CPU {min(leg['cpu_us_an_image'] for leg in legs):.0f} us an image"
            bench.row(
                name, f"{speed['median']:.0f} images/s (min {speed['min']:.0f}, max {speed['max']:.0f}), "
                f"peak memory {bench.figures[name]['peak_rss_mb']:.0f} MB{cpu}"
            )  # fmt: skip
    middle = {name: spread([leg["rows_s"] for leg in legs])["median"] for name, legs in found.items() if legs}
    bench.target("negscale over the bare loop, images/s", middle["negscale"] / middle["bare"], 0.7, "at_least")
    if rival:
        bench.target("negscale over img2dataset, images/s", middle["negscale"] / middle["img2dataset"], 2.0, "at_least")
    else:
        bench.row(
            "img2dataset", "not measured: it is not installed (pip install img2dataset in an environment of its own,"
        )
        bench.row("", "then NEGSCALE_IMG2DATASET=.../bin/img2dataset)")
    small, large = (bench.leg(negscale_leg, rows=times * settled) for times in (1, 4))
    bench.figures["memory"] = {"rows": settled, "1x": small["peak_rss_mb"], "4x": large["peak_rss_mb"]}
    bench.target("peak memory, 4x rows over 1x", large["peak_rss_mb"] / small["peak_rss_mb"], 1.1, "at_most")


def img2dataset_executable() -> str:
    """Where img2dataset is; "" when it is not."""
    return os.environ.get("NEGSCALE_IMG2DATASET", "") or shutil.which("img2dataset") or ""


@contextmanager
def server(work: str) -> Iterator[str]:
    """The root URL of a server in a process of its own."""
    port = Path(work, "port")
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.fetch_server", str(port), str(BODY_BYTES)], cwd=REPO)
    try:
        deadline = time.monotonic() + 60
        while not port.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise LegError("the server did not start")
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port.read_text()}"
    finally:
        process.terminate()
        process.wait(30)


def bare_leg(work: str, rows: int) -> Figures:
    """GET, read, forget."""
    import aiohttp

    from tests.bench.legs import peak_rss_mb

    async def run(root: str) -> int:
        slots = asyncio.Semaphore(CONCURRENCY)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def get(number: int) -> int:
                async with slots, session.get(f"{root}/{number}") as response:
                    return sum([len(chunk) async for chunk in response.content.iter_any()])

            return sum(await asyncio.gather(*(get(n) for n in range(rows))))

    with server(work) as root:
        begin, cpu = time.perf_counter(), time.process_time()
        size = asyncio.run(run(root))
        wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
    if size != rows * BODY_BYTES:
        raise LegError(f"{size} bytes came, {rows * BODY_BYTES} were there")
    return {
        "rows_s": rows / wall_s, "wall_s": wall_s, "cpu_us_an_image": 1e6 * cpu_s / rows, "peak_rss_mb": peak_rss_mb(),
    }  # fmt: skip


def negscale_leg(work: str, rows: int) -> Figures:
    """Workers of the recipe in processes of their own: each takes every second shard, reads, fetches, stores and commits."""
    with server(work) as root, ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        for name, count in (("list", rows), ("warm", WARM_ROWS * WORKERS)):
            folder = Path(work, name)
            folder.mkdir()
            with (folder / "cc12m.tsv").open("w") as file:
                file.writelines(f"{root}/{n}\ta photo of thing number {n}\n" for n in range(count))
        done = list(pool.map(_worker, range(WORKERS), [work] * WORKERS))
    wall_s = max(one["ended"] for one in done) - min(one["began"] for one in done)
    images = Path(work, "runs", "list").rglob("images/*.tar")
    kept, stored = sum(one["kept"] for one in done), sum(file.stat().st_size for file in images)
    if kept != rows or stored < rows * BODY_BYTES:
        raise LegError(f"{kept} of {rows} images came, {stored} bytes of them")
    return {
        "rows_s": rows / wall_s, "wall_s": wall_s, "cpu_us_an_image": 1e6 * sum(one["cpu_s"] for one in done) / rows,
        "stored_mb": stored / 1e6, "peak_rss_mb": sum(one["peak_rss_mb"] for one in done),
    }  # fmt: skip


def _worker(number: int, work: str) -> Figures:
    """One worker: the warm-up, a wait for the others, then its part of the list."""
    from tests.bench.legs import peak_rss_mb

    warm, _, _ = _fetch_part(f"{work}/warm", f"{work}/runs/warm", WARM_ROWS, number)
    Path(work, f"ready{number}").touch()
    while not all(Path(work, f"ready{n}").exists() for n in range(WORKERS)):
        time.sleep(0.005)
    kept, (began, ended), cpu_s = _fetch_part(f"{work}/list", f"{work}/runs/list", SHARD_ROWS, number)
    if warm != WARM_ROWS:
        raise LegError(f"{warm} of {WARM_ROWS} images of the warm-up came")
    return {"kept": kept, "began": began, "ended": ended, "cpu_s": cpu_s, "peak_rss_mb": peak_rss_mb()}


def _fetch_part(listed: str, run_root: str, shard_rows: int, number: int) -> tuple[int, tuple[float, float], float]:
    """(images kept, (begin, end), CPU seconds) of worker `number`: every WORKERS-th shard of the list."""
    from negscale import app
    from negscale.backends.fetch import BATCHES
    from negscale.core.pipeline import Shard, apply_step, conform
    from negscale.core.schema import ENVELOPE, extend
    from negscale.core.stage import Stage
    from negscale.storage.folder import open_folder
    from negscale.storage.parts import commit_shard

    overrides = [
        f"source.root={listed}", f"source.shard_rows={shard_rows}", f"runtime.run_root={run_root}",
        "fetcher.allow_private_hosts=[127.0.0.1]", f"fetcher.limits.concurrency={CONCURRENCY // WORKERS}",
        f"fetcher.limits.per_host={CONCURRENCY // WORKERS}",
    ]  # fmt: skip
    prepared = app.prepare("fetch", (), overrides)
    pipeline, run = prepared.spec.pipeline, open_folder(prepared.spec.uri)
    (stage,) = pipeline.steps
    assert isinstance(stage, Stage)
    schema = extend(ENVELOPE, pipeline.source.schema)

    def work_on(shard: Shard) -> int:
        table = apply_step(stage, conform(pipeline.source.read(shard, None), schema))
        return commit_shard(run, shard.name, 0, table, rows_read=shard.rows)[0].kept

    stage.setup()
    began, cpu = time.time(), time.process_time()
    with ThreadPoolExecutor(BATCHES) as pool:
        kept = sum(pool.map(work_on, prepared.listing.shards[number::WORKERS]))
    ended, cpu_s = time.time(), time.process_time() - cpu
    stage.close()
    return kept, (began, ended), cpu_s


def img2dataset_leg(work: str, rows: int, executable: str) -> Figures:
    """img2dataset into tars; the time from its first shard's begin to its last shard's end."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with server(work) as root:
        table = pa.table({
            "url": [f"{root}/{n}" for n in range(rows)], "caption": [f"a photo of thing number {n}" for n in range(rows)],
        })  # fmt: skip
        pq.write_table(table, Path(work, "list.parquet"))
        command = [
            executable, f"--url_list={work}/list.parquet", "--input_format=parquet", "--url_col=url", "--caption_col=caption",
            f"--output_folder={work}/out", "--output_format=webdataset", "--resize_mode=no", "--disable_all_reencoding=True",
            f"--processes_count={WORKERS}", f"--thread_count={CONCURRENCY // WORKERS}", f"--number_sample_per_shard={SHARD_ROWS}",
            "--compute_hash=sha256", "--extract_exif=False", "--enable_wandb=False",
        ]  # fmt: skip
        peak_mb, process = 0.0, subprocess.Popen(command, env={**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"})
        while True:
            peak_mb = max(peak_mb, _tree_rss_mb(process.pid))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)  # with the CPU time of what it started
            if ended:
                break
            time.sleep(0.2)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise LegError(f"{executable} ended with {process.returncode}")
    stats = [json.loads(path.read_text()) for path in Path(work, "out").glob("*_stats.json")]
    if sum(s["successes"] for s in stats) != rows:
        raise LegError(f"img2dataset fetched {sum(s['successes'] for s in stats)} of {rows}")
    wall_s = max(s["end_time"] for s in stats) - min(s["start_time"] for s in stats)
    cpu_us = 1e6 * (usage.ru_utime + usage.ru_stime) / rows  # its start included: some seconds over all rows
    return {"rows_s": rows / wall_s, "wall_s": wall_s, "cpu_us_an_image": cpu_us, "peak_rss_mb": peak_mb}


def _tree_rss_mb(pid: int) -> float:
    """Resident memory of a process and its children, shared pages counted once each."""
    import psutil

    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        return sum(p.memory_full_info().pss for p in processes) / 1e6
    except psutil.Error:  # one of them ended meanwhile
        return 0.0
