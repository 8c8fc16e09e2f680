"""What a worker does with one shard at its stages; no Ray here.

A healthy shard costs one journal line. A shard whose worker died is a suspect (architecture, decision 7): it runs alone,
then in pieces of an eighth, and a row is given up as `worker_died` only after it was alone in a worker three times,
each time the worker died, and a known-good row survived in between. When the known-good row dies too, the model is ill
and the run stops.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from negscale.core.arrow import compute as pc
from negscale.core.errors import IllModelError
from negscale.core.explode import Explode
from negscale.core.pipeline import Pipeline, apply_step
from negscale.core.schema import FAULT
from negscale.core.stage import Stage, healthy_mask, set_column
from negscale.executors.journal import Journal
from negscale.storage.folder import Folder

SPLIT_WAYS = 8  # deaths per poison row = 2 + log_8(rows) + 3, and an eighth of a shard still fills a batch
SOLO_DEATHS = 3
WHOLE_DEATHS = 2  # one death is usually the machine's
PROBES = 3


@dataclass(frozen=True, slots=True)
class WorkOptions:
    """What a worker needs to know beside its pipeline."""

    incarnation: str
    shard_timeout_s: float
    trace_dir: str = ""
    journal: bool = True  # off where a dead worker is a dead run (the local loop)
    node: str = ""
    forgiven: Callable[[str], bool] = field(default=lambda node: False)


class ShardWorker:
    """Runs some consecutive steps of a pipeline on one shard after another. Thread-safe once set up."""

    def __init__(self, folder: Folder, pipeline: Pipeline, numbers: Sequence[int], options: WorkOptions) -> None:
        self._folder, self._options = folder, options
        self._steps = [(number, pipeline.steps[number]) for number in numbers]
        self._turn = _Turnstile()
        self._good: set[int] = set()
        self._ran = False  # whether anything but probes was run in this process
        for _, step in self._steps:
            if isinstance(step, Stage):
                step.setup()

    def run(self, shard: str, table: pa.Table, timings: dict[str, dict[str, float]]) -> pa.Table:
        """Carry the rows of a shard through this worker's steps; adds rows and seconds per stage to `timings`."""
        for number, step in self._steps:
            begin = time.perf_counter()
            live = pc.sum(pc.cast(healthy_mask(table, number), pa.int64())).as_py() or 0
            if isinstance(step, Explode) or not self._options.journal:
                self._trace(step.name, live)
                table = apply_step(step, table, number)
            else:
                table = self._journaled(step, number, shard, table, live)
            timings[step.name] = {"rows": live, "seconds": round(time.perf_counter() - begin, 6)}
        return table

    def close(self) -> None:
        """Free what the stages hold."""
        for _, step in self._steps:
            if isinstance(step, Stage):
                step.close()

    # -- the ordinary way ---------------------------------------------------------------------------------------------

    def _journaled(self, stage: Stage, number: int, shard: str, table: pa.Table, live: int) -> pa.Table:
        if live == 0:
            return apply_step(stage, table, number)
        options = self._options
        journal = Journal(
            self._folder, f"{number}_{stage.name}", shard, options.incarnation, options.node, options.forgiven
        )
        if journal.suspect:
            journal.mark_hung()
            with self._turn.alone():
                result = self._suspect(stage, number, journal, table)
        else:
            with self._turn.shared():
                result = self._attempt(stage, number, journal, table, 0, live, live)
        if number not in self._good:
            self._remember_good_row(number, journal, table, result)
        journal.clear()
        return result

    def _attempt(
        self, stage: Stage, number: int, journal: Journal, table: pa.Table, lo: int, hi: int, of: int, what: str = "run"
    ) -> pa.Table:
        timeout_s = self._timeout(stage, hi - lo, of)
        journal.start(lo, hi, timeout_s, what, fresh=not self._ran)
        self._ran = self._ran or what == "run"
        self._trace(stage.name, hi - lo)
        with _deadlines.within(timeout_s):
            return apply_step(stage, table, number)

    def _timeout(self, stage: Stage, rows: int, of: int) -> float:
        whole = min(self._options.shard_timeout_s, stage.resources.shard_timeout_s)
        return max(whole * rows / max(of, 1), whole / SPLIT_WAYS)  # a piece still pays for the model's fixed costs

    def _trace(self, stage: str, rows: int) -> None:
        if self._options.trace_dir:
            folder = Path(self._options.trace_dir)
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{os.getpid()}.trace").open("a") as file:
                file.write(f"{time.time():.3f} {stage} {rows}\n")

    def _remember_good_row(self, number: int, journal: Journal, before: pa.Table, after: pa.Table) -> None:
        came_through = pc.and_(healthy_mask(before, number), pc.is_null(after["quarantine"]))
        at = pc.index(came_through, True).as_py()
        if at >= 0:
            journal.save_good_row(before.slice(at, 1))
            self._good.add(number)

    # -- the careful way ----------------------------------------------------------------------------------------------

    def _suspect(self, stage: Stage, number: int, journal: Journal, table: pa.Table) -> pa.Table:
        """Run a shard that was in a dying worker: whole and alone, then in ever smaller pieces."""
        live = pc.indices_nonzero(healthy_mask(table, number))
        rows, count = table.take(live), len(live)
        if journal.deaths(0, count).count < WHOLE_DEATHS:
            return self._attempt(stage, number, journal, table, 0, count, count)
        self._probe(stage, number, journal, rows)
        journal.note_split(0, count)
        pieces = [self._piece(stage, number, journal, rows, lo, hi) for lo, hi in _split(0, count)]
        done = pa.concat_tables(pieces)
        rest = pc.indices_nonzero(pc.invert(healthy_mask(table, number)))
        if len(rest) == 0:
            return done
        others = apply_step(stage, table.take(rest), number)  # passes through; brings the columns
        merged = pa.concat_tables([done, others.select(done.column_names)])
        back = pc.sort_indices(pa.concat_arrays([live.cast(pa.int64()), rest.cast(pa.int64())]))
        return merged.take(back)

    def _piece(self, stage: Stage, number: int, journal: Journal, rows: pa.Table, lo: int, hi: int) -> pa.Table:
        if (kept := journal.piece(lo, hi)) is not None:
            return kept
        deaths = journal.deaths(lo, hi)
        if hi - lo == 1 and deaths.count:
            self._probe(stage, number, journal, rows, but=lo)
            # a worker that runs several shards at once may never be fresh: twice as many deaths alone say the same
            if deaths.fresh >= SOLO_DEATHS or deaths.count >= 2 * SOLO_DEATHS:
                result = self._give_up(stage, number, journal, rows.slice(lo, 1), lo, deaths.hung == deaths.count)
                journal.save_piece(lo, hi, result)
                return result
        elif deaths.count:
            return pa.concat_tables([self._piece(stage, number, journal, rows, *part) for part in _split(lo, hi)])
        result = self._attempt(stage, number, journal, rows.slice(lo, hi - lo), lo, hi, len(rows))
        journal.save_piece(lo, hi, result)
        journal.done()
        return result

    def _probe(self, stage: Stage, number: int, journal: Journal, rows: pa.Table, but: int = -1) -> None:
        """Show that a known-good row survives in this worker. Raises IllModelError when good rows die as well."""
        good = journal.good_row()
        if good is not None:
            self._survive(stage, number, journal, good, "good")
            return
        others = [i for i in dict.fromkeys((len(rows) - 1, len(rows) // 2, 0, len(rows) // 3)) if i != but][:PROBES]
        for i in others:  # none is known yet: the first of some rows from all over the shard that survives becomes it
            if journal.deaths(i, i + 1, "probe").count == 0:
                self._survive(stage, number, journal, rows.slice(i, 1), "probe", i)
                journal.save_good_row(rows.slice(i, 1))
                return
        if others:
            raise IllModelError(
                f"stage {stage.name!r}: its worker died on {len(others)} different rows run one by one, and no row ever came "
                f"through. The model is at fault (weights, engine, driver or memory), not the rows: see the worker's log, "
                f"mend it and run the same command again; finished shards are kept."
            )

    def _survive(self, stage: Stage, number: int, journal: Journal, row: pa.Table, what: str, at: int = 0) -> None:
        deaths = journal.deaths(at, at + 1, what)
        if deaths.count >= PROBES:
            raise IllModelError(
                f"stage {stage.name!r}: its worker died {deaths.count} times on a row that had come through before. The model "
                f"or the machine is at fault, not the rows: see the worker's log, mend it and run the same command again."
            )
        self._attempt(stage, number, journal, row, at, at + 1, len(row), what)
        journal.done()

    def _give_up(self, stage: Stage, number: int, journal: Journal, row: pa.Table, at: int, hung: bool) -> pa.Table:
        known_good = journal.good_row() is not None
        if journal.note_poison(at) >= PROBES and not known_good:
            raise IllModelError(
                f"stage {stage.name!r}: its worker died on {PROBES} rows and no row ever came through. The model is at fault; "
                f"see the worker's log, mend it and run the same command again."
            )
        how = "hung until its time was up" if hung else "died"
        message = f"run alone in a worker at least {SOLO_DEATHS} times, and each time the worker {how}; other rows came through"
        fault = {"stage": stage.name, "kind": "worker_died", "message": message, "retryable": False}
        marked = set_column(row, pa.field("quarantine", FAULT), [fault])
        return apply_step(stage, marked, number)  # not healthy any more: only brings the columns


def _split(lo: int, hi: int) -> list[tuple[int, int]]:
    """[lo, hi) in at most eight contiguous pieces."""
    rows = hi - lo
    size = -(-rows // SPLIT_WAYS)
    return [(at, min(at + size, hi)) for at in range(lo, hi, size)]


class _Turnstile:
    """Many healthy shards at once, or one suspect alone."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._waiting = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: self._inside >= 0 and self._waiting == 0)
            self._inside += 1
        try:
            yield
        finally:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._condition:
            self._waiting += 1
            self._condition.wait_for(lambda: self._inside == 0)
            self._waiting -= 1
            self._inside = -1
        try:
            yield
        finally:
            with self._condition:
                self._inside = 0
                self._condition.notify_all()


class _Deadlines:
    """Ends this process when a shard takes too long, even in C code that never gives the interpreter back.

    faulthandler's watchdog is a C thread that needs no interpreter lock; there is one per process, set to the earliest
    deadline of the shards that are running. To set or cancel it joins a thread, which was two fifths of a tiny shard's
    time: so it stays set between shards and may be late by a quarter of what was allowed, and a keeper thread takes it
    away when nothing runs.
    """

    LATE = 0.25

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ends: dict[int, tuple[float, float]] = {}  # thread -> (deadline, how late the watchdog may be)
        self._armed: tuple[float, float] | None = None  # (when the watchdog ends the process, how late that is)
        self._keeper: threading.Thread | None = None

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        key = threading.get_ident()
        with self._changed:
            self._ends[key] = (time.monotonic() + seconds, seconds * self.LATE)
            self._arm()
        try:
            yield
        finally:
            with self._changed:
                del self._ends[key]
                if self._ends:
                    self._arm()  # never before the deadline of one that still runs

    def _arm(self) -> None:
        end, late = min(self._ends.values())
        if self._armed and end <= self._armed[0] <= end + late:
            return
        self._armed = (end + late, late)
        left = max(0.001, end + late - time.monotonic())
        faulthandler.dump_traceback_later(left, exit=True, file=sys.__stderr__ or sys.stderr)
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="negscale-deadlines", daemon=True)
            self._keeper.start()
        self._changed.notify_all()

    def _keep(self) -> None:
        with self._changed:
            while True:
                if self._armed is None:
                    self._changed.wait()
                    continue
                when, late = self._armed
                left = when - late / 2 - time.monotonic()  # early enough to be in time on a busy machine
                if left > 0 or self._ends:
                    self._changed.wait(max(left, late / 8))
                else:
                    faulthandler.cancel_dump_traceback_later()
                    self._armed = None


_deadlines = _Deadlines()
