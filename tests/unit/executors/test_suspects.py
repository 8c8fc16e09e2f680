"""Suspects: what a worker does with a shard whose journal tells of deaths. Deaths are real lines of dead workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from negscale.core.errors import IllModelError
from negscale.core.pipeline import Pipeline, Shard, conform
from negscale.core.schema import ENVELOPE, extend
from negscale.core.stage import Outcome, Reject, Row, Stage
from negscale.executors.journal import Journal
from negscale.executors.shard_work import SOLO_DEATHS, ShardWorker, WorkOptions
from negscale.storage.folder import open_folder
from tests.support import NumberSource

ROWS = 64


class Died(BaseException):
    """Stands for the end of a process: nothing below the test catches it, and nothing after it runs."""


class Killer(Stage):
    """Ends the process on some rows; notes what it saw."""

    name = "killer"
    reads = pa.schema([("x", pa.int64())])
    writes = pa.schema([("y", pa.int64())])

    def __init__(self, poison: tuple[int, ...], log: list[list[int]]) -> None:
        self.poison, self.log = poison, log

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        self.log.append([row["x"] for row in rows])
        if any(row["x"] in self.poison for row in rows):
            raise Died
        return [Reject("nine") if row["x"] == 9 else {"y": row["x"]} for row in rows]


def shard() -> pa.Table:
    source = NumberSource(ROWS, ROWS)
    return conform(source.read(Shard("s", ROWS, "0"), None), extend(ENVELOPE, source.schema))


class Machine:
    """A machine on which workers die and are replaced."""

    def __init__(self, root: Path, poison: tuple[int, ...]) -> None:
        self.folder, self.log = open_folder(str(root)), []
        self.pipeline = Pipeline("p", NumberSource(ROWS, ROWS), (Killer(poison, self.log),))
        self.deaths = 0

    def worker(self, incarnation: str = "i1", forgiven: Callable[[str], bool] = lambda node: False) -> ShardWorker:
        options = WorkOptions(incarnation, 60.0, node="n", forgiven=forgiven)
        return ShardWorker(self.folder, self.pipeline, [0], options)

    def until_done(self, table: pa.Table, most: int = 40) -> pa.Table:
        for _ in range(most):
            try:
                return self.worker().run("s", table, {})
            except Died:
                self.deaths += 1
        raise AssertionError(f"still dying after {most} workers")


def test_a_healthy_shard_leaves_no_journal(tmp_path: Path) -> None:
    machine = Machine(tmp_path, ())
    out = machine.until_done(shard())
    assert out["y"].null_count == 1
    assert [entry.path for entry in machine.folder.list("attempts")] == ["attempts/0_killer.good"]


@pytest.mark.parametrize("poison", [(0,), (17,), (63,), (3, 40), (8, 9, 10)])
def test_exactly_the_poison_is_given_up_and_the_order_kept(tmp_path: Path, poison: tuple[int, ...]) -> None:
    machine = Machine(tmp_path, poison)
    machine.folder.write("attempts/0_killer.good", _ipc(shard().slice(5, 1)))
    out = machine.until_done(shard())
    given_up = [x for x, q in zip(out["x"].to_pylist(), out["quarantine"].to_pylist(), strict=True) if q]
    assert given_up == list(poison)
    assert out["x"].to_pylist() == list(range(ROWS))
    assert machine.deaths <= 2 + len(poison) * (2 + 2 * SOLO_DEATHS)
    solo = [rows for rows in machine.log if len(rows) == 1 and rows[0] in poison]
    assert len(solo) >= SOLO_DEATHS * len(poison), "each was alone at least three times"
    assert not [e for e in machine.folder.list("attempts") if ".s" in e.path and not e.path.endswith(".poison")]


def test_without_any_good_row_a_model_that_always_dies_is_ill(tmp_path: Path) -> None:
    machine = Machine(tmp_path, tuple(range(ROWS)))
    with pytest.raises(IllModelError, match="no row ever came through"):
        machine.until_done(shard())
    assert machine.deaths <= 8


def test_a_model_that_falls_ill_later_kills_a_row_that_was_good(tmp_path: Path) -> None:
    machine = Machine(tmp_path, tuple(range(ROWS)))
    machine.folder.write("attempts/0_killer.good", _ipc(shard().slice(5, 1)))
    with pytest.raises(IllModelError, match="a row that had come through before"):
        machine.until_done(shard())
    assert machine.deaths <= 10


def test_deaths_of_lost_nodes_and_earlier_drivers_do_not_add_up(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))

    def journal(incarnation: str, node: str = "n", lost: str = "") -> Journal:
        return Journal(folder, "0_killer", "s", incarnation, node, lambda name: name == lost)

    for driver in ("a", "b", "c"):
        journal(driver).start(0, ROWS, 60.0)
    assert journal("d").deaths(0, ROWS).count == 1, "three killed drivers are one death at most"
    journal("d", node="gone").start(0, ROWS, 60.0)
    journal("d").start(0, ROWS, 60.0)
    assert journal("d").deaths(0, ROWS).count == 3
    assert journal("d", lost="gone").deaths(0, ROWS).count == 2


def test_a_shard_that_was_near_one_death_runs_whole_and_alone_once_more(tmp_path: Path) -> None:
    machine = Machine(tmp_path, ())
    Journal(machine.folder, "0_killer", "s", "i1", "n", lambda node: False).start(0, ROWS, 60.0)
    machine.until_done(shard())
    assert [len(rows) for rows in machine.log] == [ROWS]


def _ipc(table: pa.Table) -> bytes:
    from negscale.executors.journal import ipc

    return ipc(table)
