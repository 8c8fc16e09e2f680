"""Poison rows and random kills together: exactly the poison is quarantined. A model that always dies stops the run."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.storm import Driver, KillStorm, rows_executed
from tests.acceptance.verdict import verdict

pytestmark = [pytest.mark.acceptance, pytest.mark.ray, pytest.mark.timeout(3000)]


def drive(name: str, root: Path, **options: object) -> Driver:
    command = [sys.executable, "-m", "tests.acceptance.driver", name, str(root), json.dumps(options)]
    return Driver(command, root.parent / f"{root.name}.log")


def test_poison_rows_in_a_storm_are_the_only_ones_quarantined(tmp_path: Path) -> None:
    exits, segfaults, hangs = (777, 9001, 15_500), (3333, 12_345), (6006,)
    driver = drive(
        "poisoned", tmp_path / "runs", rows=20_000, shard_rows=256, exits=exits, segfaults=segfaults, hangs=hangs, ms=20.0,
        workers=4, runtime={"shard_timeout_s": 30},
    )  # fmt: skip
    killer = KillStorm(driver, every_s=10.0, at_least=8)
    killer.start()
    code = driver.wait(2400)
    assert code == 0, driver.tail()
    run = RunFolder(str(tmp_path / "runs/test/poison/v"))
    found = {r["x"]: r["quarantine"]["kind"] for _, t in run.tables("quarantine") for r in t.to_pylist()}
    report = audit(run)
    verdict(
        "poison rows together with random kills: exactly they are quarantined",
        found == dict.fromkeys((*exits, *segfaults, *hangs), "worker_died") and report.passed and len(killer.kills) > 5,
        quarantined=sorted(found), kills=len(killer.kills), workers=killer.most_workers, kept=report.kept, rows=report.rows_read,
    )  # fmt: skip


def test_a_model_that_dies_for_every_row_stops_with_a_clear_error(tmp_path: Path) -> None:
    begin = time.monotonic()
    driver = drive(
        "poisoned", tmp_path / "runs", rows=20_000, shard_rows=256, always=True, workers=4,
        runtime={"shard_timeout_s": 30, "trace_dir": str(tmp_path / "trace")},
    )  # fmt: skip
    code = driver.wait(1500)
    said = driver.tail()
    starts = sum(
        line.split()[1] == "poison" for f in (tmp_path / "trace").glob("*.trace") for line in f.read_text().splitlines()
    )
    clear = "'poison'" in said and "no row ever came through" in said and "Traceback" not in said
    verdict(
        "a model that dies for every row: clear error after a bounded number of tries",
        code == 4 and clear and starts <= 60, exit_code=code, tries=starts, seconds=time.monotonic() - begin,
        rows_started=rows_executed(tmp_path / "trace"), message=said.strip().splitlines()[-1][:200],
    )  # fmt: skip


def test_every_child_of_an_explode_comes_exactly_once_under_kills(tmp_path: Path) -> None:
    rows = 6000
    driver = drive(
        "exploding", tmp_path / "runs", rows=rows, shard_rows=128, ms=10.0, actors=4, runtime={"shard_timeout_s": 60}
    )
    killer = KillStorm(driver, every_s=6.0, at_least=8)
    killer.start()
    code = driver.wait(1500)
    assert code == 0, driver.tail()
    run = RunFolder(str(tmp_path / "runs/test/kids/v"))
    ids = [i for _, t in run.tables("data", ["id"]) for i in t["id"].to_pylist()]
    expected = {f"{x:08d}#{k}" for x in range(rows) if x % 13 for k in range(3)}
    report = audit(run)
    verdict(
        "explode under kills: every child exactly once",
        len(ids) == len(set(ids)) and set(ids) == expected and report.passed and len(killer.kills) >= 3,
        parents=rows, children=len(ids), kills=len(killer.kills), empty_lists_rejected=report.rejected,
    )  # fmt: skip
