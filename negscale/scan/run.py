"""A scan from its sources to its result: units over workers, each finished unit a file in the state folder.

A killed scan goes on where it was when the same command runs again. Totals and examples do not depend on the number of
workers or on what was resumed. Memory holds one batch per worker and the counts.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import connection, get_context, parent_process
from typing import Any, Literal

import pyarrow as pa

from negscale.core.errors import ConfigError, FatalError
from negscale.metrics.statistics import wilson_interval
from negscale.scan.readers import read_captions
from negscale.scan.sources import Reading, Unit, digest_of, find_sources, units_of
from negscale.scan.tally import COUNTS, Tally
from negscale.storage.folder import Folder, open_folder

VERSION = 2  # of the counting rules: a state folder of other rules is not gone on with
Cues = Literal["negscale", "words"]
_AHEAD = 3  # units handed out per worker
_THREADS = 3
_PATIENCE_S = 5e-4  # how long a thread that comes back from Arrow waits for one that runs Python
_BY_ARROW = ("parquet", "csv", "tsv")  # formats that are read outside of the interpreter's lock
Counted = dict[str, Any] | str  # a tally as JSON values, or what is wrong with the file
Told = Callable[[int, int], None]  # (units done, units in all)


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What bears on the result beside the files."""

    reading: Reading = field(default_factory=Reading)
    cues: Cues = "negscale"  # the project's cues, or the bare word list of the literature
    examples: int = 5  # per cue
    seed: int = 0

    def tally(self) -> Tally:
        """An empty tally with these options."""
        return Tally(self.examples, self.seed, self.cues == "words")


def scan(
    sources: Sequence[str], options: ScanOptions | None = None, *, workers: int = 0, state: str = "runs/scan",
    told: Told | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Counts, shares with 95 % Wilson intervals, and examples, as JSON values; see `result_of`.

    sources: files, folders, patterns or URIs. workers: 0 = as many as there are cores. state: folder or URI below
    which this scan keeps its finished units (in a sub-folder named by files and options). told: called as units finish.
    Raises ConfigError for sources or columns that are not there; a broken file is named under "failed" and read again by the
    next run.
    """
    options = options or ScanOptions()
    if options.cues not in ("negscale", "words"):
        raise ConfigError(f"cues {options.cues!r} is unknown; known: negscale, words")
    files = find_sources(sources)
    digest = digest_of(files, [VERSION, asdict(options)])
    folder = open_folder(f"{state.rstrip('/')}/{digest}")
    units = list(units_of(files))
    done = {entry.path.removesuffix(".json") for entry in folder.list("units")} if units else set()
    done = {path.rpartition("/")[2] for path in done}
    todo = [unit for unit in units if unit.key not in done]
    failed: dict[str, str] = {}
    total = options.tally()
    for unit in units:
        if unit.key in done:
            total.merge(options.tally().read_json(json.loads(folder.read(f"units/{unit.key}.json"))))
    finished = len(units) - len(todo)
    with _memory():
        for unit, counted in _work(todo, options, folder.uri, workers or len(os.sched_getaffinity(0))):
            finished += 1
            if isinstance(counted, str):
                failed[unit.name] = counted
            else:
                total.merge(options.tally().read_json(counted))
            if told is not None:
                told(finished, len(units))
    result = {
        "sources": list(sources), "files": len(files), "bytes": sum(file.size_bytes for file in files), "units": len(units),
        "resumed_units": len(units) - len(todo), "state": folder.uri, "options": asdict(options), "failed": failed,
        **result_of(total),
    }  # fmt: skip
    folder.write("result.json", json.dumps(result, indent=1).encode())
    return result


@contextmanager
def _memory() -> Iterator[None]:
    """Arrow's memory from jemalloc where this build has it: the default gives pages back that the next batch wants again."""
    before = pa.default_memory_pool()
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def _work(units: Sequence[Unit], options: ScanOptions, state: str, workers: int) -> Iterator[tuple[Unit, Counted]]:
    """(unit, its counts or what is wrong) as they end."""
    workers = min(workers, len(units))
    if workers <= 1:
        for unit in units:
            yield unit, count_unit(unit, options, state)
        return
    with _pool(units, workers) as pool:
        waiting: dict[Future[Counted], Unit] = {}
        queue = iter(units)
        try:
            while True:
                for unit in queue:
                    waiting[pool.submit(count_unit, unit, options, state)] = unit
                    if len(waiting) >= _AHEAD * workers:
                        break
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool:
            raise FatalError(
                "a scanning process died (out of memory?): run the same command again with fewer --workers; finished units are kept"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _pool(units: Sequence[Unit], workers: int) -> Iterator[Executor]:
    """Threads while they are few and Arrow reads the files, which then work at once; else processes.

    Nine tenths of the work are outside of the interpreter's lock, so that more threads would wait for each other.
    """
    if workers > _THREADS or not all(unit.format in _BY_ARROW for unit in units):
        with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
            yield pool
        return
    patience_s = sys.getswitchinterval()
    sys.setswitchinterval(_PATIENCE_S)
    try:
        with ThreadPoolExecutor(workers, "negscale-scan") as pool:
            yield pool
    finally:
        sys.setswitchinterval(patience_s)


def count_unit(unit: Unit, options: ScanOptions, state: str) -> Counted:
    """Count one unit and keep it in the state folder; returns what it kept, or what is wrong with the unit's file."""
    tally = options.tally()
    base = 0
    try:
        for captions in read_captions(unit, options.reading, tally.unread):
            start = base
            tally.add(captions, lambda number, start=start: f"{unit.name}:{start + number}")
            base += len(captions)
    except ConfigError:
        raise
    except (OSError, ValueError, EOFError, tarfile.TarError, zlib.error, pa.ArrowException) as error:
        return f"{type(error).__name__}: {error} (after {base:,} captions, which are not counted)"
    folder: Folder = open_folder(state)
    counted = tally.to_json()
    folder.write(f"units/{unit.key}.json", json.dumps(counted).encode(), durable=False)
    return counted


def _start_worker() -> None:
    pa.set_cpu_count(1)  # one process, one core
    pa.set_io_thread_count(2)
    parent = parent_process()
    if parent is not None:  # a killed parent must not leave its workers behind
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: Any) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _share(count: int, of: int) -> dict[str, Any]:
    low, high = wilson_interval(count, of)
    return {"count": count, "of": of, "share": count / of if of else None, "low": low, "high": high}


def result_of(tally: Tally) -> dict[str, Any]:
    """Shares and per-cue counts as JSON values.

    `captions` are shares of captions, `tokens` of words; the intervals treat captions (words) as independent draws, which
    holds for a sample of a collection, and says nothing where the whole collection was read.
    """
    counts = {name: tally.counts.get(name, 0) for name in COUNTS}
    captions, words = counts["captions"], counts["words"]
    shares = {"word_list": _share(counts["listed_captions"], captions)}
    tokens = {"word_list": _share(counts["listed_tokens"], max(words, counts["listed_tokens"]))}
    if not tally.word_list_only:
        shares |= {
            name.removesuffix("_captions"): _share(counts[name], captions)
            for name in (
                "explicit_captions", "implicit_captions", "implicit_only_captions", "look_alike_captions",
                "double_negation_captions",
            )
        }  # fmt: skip
        tokens["explicit"] = _share(counts["explicit_tokens"], max(words, counts["explicit_tokens"]))
    cues = [
        {
            "group": tally.groups[key], "cue": key.partition("/")[2], **_share(count, captions),
            "occurrences": tally.cue_tokens[key],
            "examples": [{"caption": caption, "at": at} for _, caption, at in tally.examples.get(key, ())],
        }
        for key, count in sorted(tally.cue_captions.items(), key=lambda item: (tally.groups[item[0]], -item[1], item[0]))
    ]  # fmt: skip
    unread = {kind: count for kind, count in sorted(tally.unread.items()) if count}
    return {"captions": captions, "words": words, "unread": unread, "shares": shares, "tokens": tokens, "cues": cues}
