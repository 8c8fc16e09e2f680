"""`negscale scan` on captions recombined from real alt texts, against a Python `re` loop and DuckDB on the same Parquet files.

Equal work, twice. "words": the word list of the literature. "cues": the project's whole cue list, which the scan answers with the
language analysis of every candidate, and the loop with one alternation, which cannot tell "no. 7" from a negation. The `re`
loop is what one would write by hand: one process, one compiled alternation, a search per caption. DuckDB counts the captions
that match the very expression of the scan's prefilter (regexp_matches, RE2), on two threads, which is less than the work of
the scan's first tier ("candidates": that also counts words); it counts no words unless asked to ("duckdb + words": pieces
between blanks), and no cues. Captions: the head of one CC3M alt text joined to the tail of
another, so that words and cues are as frequent as there.

What is loaded once a process (libraries, the compiled kernel, DuckDB's connection, the lexicon that tells "leafless" from
"wireless") is loaded before the clock starts, on all sides; the scan's own figure for it is printed. Legs run in turn, and
ratios are of medians.
"""

from __future__ import annotations

import os
import re
import resource
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from tests.bench.legs import REPO, Figures, LegError, peak_rss_mb
from tests.bench.report import Bench, spread

TEXTS = Path("text", "cc3m_val.tsv")
WORKERS = 2
FILE_ROWS = 250_000
LIST = r"\b(?:no|not|without|never|none|nobody|nothing|neither|nor)\b|n't\b"
FLAT = 1.1  # peak at 10 x over peak at 1 x


def measure(bench: Bench) -> None:
    """Interleaved speed legs, then memory at 10 M captions and at ten times as many."""
    data = Path(os.environ.get("NEGSCALE_SHARED_DATA", REPO.parent / "shared" / "data"))
    if not (data / TEXTS).is_file():
        raise LegError(f"no {data / TEXTS}; set NEGSCALE_SHARED_DATA")
    rows, repeats = bench.by_size(300_000, 3_000_000, 10_000_000), bench.by_size(1, 3, 5)
    copies = bench.by_size(
        80, 400, 400
    )  # of one file: 20 or 100 M captions against a tenth, when pools are full already
    bench.baseline = "a Python re loop (one process, one compiled alternation); DuckDB regexp_matches on 2 threads"
    bench.config = {"captions": rows, "workers": WORKERS, "file_rows": FILE_ROWS}
    with tempfile.TemporaryDirectory(prefix="negscale-bench-scan-") as folder:
        written = bench.leg(write_leg, texts=str(data / TEXTS), rows=rows, folder=folder)
        bench.row("captions", f"{rows:,} in {written['files']} files, {written['bytes'] / 1e6:.0f} MB")
        for cues in ("words", "cues"):
            legs: dict[str, list[Figures]] = {
                name: [] for name in ("scan", "re", "candidates", "duckdb", "duckdb + words")
            }
            for repeat in range(repeats):
                legs["re"].append(bench.leg(re_leg, repeat=repeat, folder=folder, cues=cues, rows=min(rows, 1_000_000)))
                legs["duckdb"].append(bench.leg(duckdb_leg, repeat=repeat, folder=folder, cues=cues))
                legs["duckdb + words"].append(
                    bench.leg(duckdb_leg, repeat=repeat, folder=folder, cues=cues, words=True)
                )
                legs["candidates"].append(bench.leg(candidates_leg, repeat=repeat, folder=folder, cues=cues))
                legs["scan"].append(bench.leg(scan_leg, repeat=repeat, folder=folder, cues=cues))
            _compare(bench, cues, legs)
        tenth = f"{folder}/part-00000.parquet"
        small = bench.leg(scan_leg, folder=tenth, cues="cues", copies=copies // 10 or 1)
        large = bench.leg(scan_leg, folder=tenth, cues="cues", copies=copies)
    bench.figures["memory"] = {name: leg["peak_mb"] for name, leg in (("1x", small), ("10x", large))}
    bench.row(
        "peak memory", f"1x {small['peak_mb']:.0f} MB, 10x {large['peak_mb']:.0f} MB ({large['captions']:,} captions)"
    )
    bench.target("peak memory, 10x captions over 1x", large["peak_mb"] / small["peak_mb"], FLAT, "at_most")


def _compare(bench: Bench, cues: str, legs: dict[str, list[Figures]]) -> None:
    rates = {name: [leg["captions_s"] for leg in found] for name, found in legs.items()}
    middle = {name: spread(found)["median"] for name, found in rates.items()}
    over = {name: middle["scan"] / middle[name] for name in ("re", "duckdb", "duckdb + words")}
    alone = middle["candidates"] / middle["duckdb"]
    bench.figures[cues] = {
        "candidates_over_duckdb": alone,
        "captions_s": {name: spread(found) for name, found in rates.items()}, "scan_over": over,
        "matches": {name: found[0]["matches"] for name, found in legs.items()},
    }  # fmt: skip
    for name, found in rates.items():
        cpu_us = spread([leg["cpu_us"] for leg in legs[name]])["median"]
        speed = f"{spread(found)['median']:,.0f} captions/s (min {min(found):,.0f}, max {max(found):,.0f})"
        bench.row(f"{cues}: {name}", f"{speed}; {cpu_us:.2f} us CPU a caption")
    bench.target(f"{cues}: scan over the re loop", over["re"], 5.0, "at_least")
    bench.target(f"{cues}: scan over DuckDB", over["duckdb"], 0.8, "at_least")
    loaded = max(leg["load_s"] for leg in legs["scan"])
    bench.row(f"{cues}: loaded before the clock starts", f"{loaded:.2f} s (libraries, lexicon)")
    # the scan also counts cues and draws examples
    bench.row(f"{cues}: the scan's candidates alone over DuckDB", f"{alone:.2f}")
    bench.row(f"{cues}: scan over DuckDB with words", f"{over['duckdb + words']:.2f}")


def _cpu_s() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def write_leg(texts: str, rows: int, folder: str, work: str) -> Figures:
    """part-*.parquet with a caption column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from negscale.core.arrow import compute as pc
    from negscale.core.rng import rng_for

    with Path(texts).open() as file:
        words = [line.partition("\t")[0].split() for line in file]
    heads = pa.array([" ".join(w[: len(w) // 2]) for w in words])
    tails = pa.array([" ".join(w[len(w) // 2 :]) for w in words])
    size = files = 0
    for at in range(0, rows, FILE_ROWS):
        rng, count = rng_for(0, "captions", at), min(FILE_ROWS, rows - at)
        parts = [half.take(pa.array(rng.integers(0, len(words), count))) for half in (heads, tails)]
        path = Path(folder, f"part-{files:05d}.parquet")
        table = pa.table({"caption": pc.binary_join_element_wise(*parts, " ")})
        pq.write_table(table, path, row_group_size=100_000, compression="zstd")
        size, files = size + path.stat().st_size, files + 1
    return {"bytes": size, "files": files}


def scan_leg(folder: str, cues: str, work: str, copies: int = 1) -> Figures:
    """The scan, from finding the files to the result."""
    from negscale.scan.run import ScanOptions, scan

    sources = [folder]
    if copies > 1:
        sources = [f"{work}/{number:03d}.parquet" for number in range(copies)]
        for link in sources:
            Path(link).symlink_to(folder)
    began = time.perf_counter()
    _warm(work, cues)
    load_s = time.perf_counter() - began
    sampler = _Memory()
    began, cpu_s = time.perf_counter(), _cpu_s()
    result = scan(
        sources, ScanOptions(cues="words" if cues == "words" else "negscale"), workers=WORKERS, state=f"{work}/state"
    )
    seconds = time.perf_counter() - began
    cpu_s = _cpu_s() - cpu_s
    shares = result["shares"]
    matches = shares["word_list"]["count"] if cues == "words" else shares["explicit"]["count"]
    return {
        "captions": result["captions"], "captions_s": result["captions"] / seconds, "matches": matches,
        "cpu_us": 1e6 * cpu_s / result["captions"], "peak_mb": sampler.peak_mb(),
        "load_s": load_s,
        "shares": {name: share["share"] for name, share in shares.items()},
    }  # fmt: skip


def _warm(work: str, cues: str) -> None:
    """Loads what is loaded once a process: libraries at their first use, and the lexicon."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from negscale.scan.analysis import analyse_slowly
    from negscale.scan.run import ScanOptions, scan

    if cues == "cues":
        analyse_slowly("an unpaved road")
    pq.write_table(pa.table({"caption": ["a road, not paved", "caf\u00e9 without a terrace"]}), f"{work}/warm.parquet")
    scan([f"{work}/warm.parquet"], ScanOptions(cues="words" if cues == "words" else "negscale"), state=f"{work}/warm")


def candidates_leg(folder: str, cues: str, work: str) -> Figures:
    """The scan's first tier alone, on threads: the work of DuckDB's query, and the words."""
    import pyarrow.parquet as pq

    from negscale.scan.prefilter import CUED, LISTED, candidates

    wanted = LISTED if cues == "words" else CUED

    def count(path: Path, group: int) -> tuple[int, int]:
        found = seen = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1 << 16, row_groups=[group], columns=["caption"], use_threads=False):
                found, seen = found + len(candidates(batch.column(0), wanted)[1]), seen + len(batch)
        return found, seen

    _warm(work, cues)
    began, cpu_s = time.perf_counter(), _cpu_s()
    paths = sorted(Path(folder).glob("*.parquet"))
    groups = [(path, group) for path in paths for group in range(pq.read_metadata(path).num_row_groups)]
    with ThreadPoolExecutor(WORKERS) as pool:
        counts = list(pool.map(lambda part: count(*part), groups))
    seconds, cpu_s = time.perf_counter() - began, _cpu_s() - cpu_s
    matches, seen = (sum(column) for column in zip(*counts, strict=True))
    return {"captions_s": seen / seconds, "cpu_us": 1e6 * cpu_s / seen, "matches": matches, "captions": seen}


def re_leg(folder: str, cues: str, rows: int, work: str) -> Figures:
    """The plain loop, over the first `rows` captions."""
    import pyarrow.parquet as pq

    from negscale.scan.prefilter import CUED

    search = re.compile(LIST if cues == "words" else CUED.text, re.IGNORECASE).search
    seen = matches = 0
    began, cpu_s = time.perf_counter(), _cpu_s()
    for path in sorted(Path(folder).glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(columns=["caption"]):
            if seen >= rows:
                break
            for caption in batch.column(0).to_pylist():
                matches += search(caption) is not None
            seen += len(batch)
    seconds, cpu_s = time.perf_counter() - began, _cpu_s() - cpu_s
    return {"captions_s": seen / seconds, "cpu_us": 1e6 * cpu_s / seen, "matches": matches, "captions": seen}


def duckdb_leg(folder: str, cues: str, work: str, words: bool = False) -> Figures:
    """DuckDB on as many threads as the scan has processes; words: also counts them (pieces between blanks)."""
    import duckdb

    from negscale.scan.prefilter import CUED, LISTED

    pattern = (LISTED if cues == "words" else CUED).text
    query = (
        f"SELECT count(*), count(*) FILTER (regexp_matches(caption, ?, 'i')) FROM read_parquet('{folder}/*.parquet')"
    )
    with duckdb.connect(config={"threads": WORKERS}) as base:
        began, cpu_s = time.perf_counter(), _cpu_s()
        found = base.execute(query, [pattern]).fetchone()
        seconds, cpu_s = time.perf_counter() - began, _cpu_s() - cpu_s
    assert found is not None
    return {
        "captions_s": found[0] / seconds, "cpu_us": 1e6 * cpu_s / found[0], "matches": found[1], "captions": found[0],
    }  # fmt: skip


class _Memory:
    """Peak of the private memory of this process and those it starts."""

    def __init__(self) -> None:
        self._peak, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.01):  # a million captions take a fifth of a second
            total = 0
            for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
                try:
                    memory = process.memory_info()
                except psutil.Error:
                    continue
                total += memory.rss - memory.shared
            self._peak = max(self._peak, total / 1e6)

    def peak_mb(self) -> float:
        """Stop; the peak in MB."""
        self._stop.set()
        self._thread.join()
        return self._peak or peak_rss_mb()
