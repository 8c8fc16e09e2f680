"""The sample: uniform, the same for a seed, nested, untouched by shards and by rows that come later."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from negscale.core.errors import ConfigError, PlanError
from negscale.review.sample import draw_sample
from negscale.storage.parts import commit_shard
from negscale.storage.run_folder import RunFolder
from tests.unit.exports.folders import SCHEMA, broken, make_run, rejected, row


def _run(path: Path, sizes: list[int]) -> RunFolder:
    """Shards of unequal sizes, each with a refused row that no sample may show."""
    numbers = iter(range(sum(sizes)))
    return make_run(
        path,
        [
            [row(f"r{next(numbers):05d}", "1", "1") for _ in range(size)] + [rejected(f"x{s}")]
            for s, size in enumerate(sizes)
        ],
    )


def _ids(run: RunFolder, size: int, seed: int = 0) -> list[str]:
    return [shown["id"] for shown in draw_sample(run, size, seed).rows]


def test_every_kept_row_is_as_likely_as_any_other(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", [1, 29, 10])
    seen = dict.fromkeys((f"r{i:05d}" for i in range(40)), 0)
    for seed in range(400):
        for row_id in _ids(run, 10, seed):
            seen[row_id] += 1
    expected = 400 * 10 / 40
    chi_squared = sum((count - expected) ** 2 / expected for count in seen.values())
    assert sum(seen.values()) == 4000
    assert chi_squared < 39 + 4 * (2 * 39) ** 0.5  # 39 degrees of freedom, four standard deviations


def test_a_seed_gives_its_rows_however_the_shards_are_cut(tmp_path: Path) -> None:
    one, other = _run(tmp_path / "one", [40]), _run(tmp_path / "other", [3, 30, 7])
    assert _ids(one, 12) == _ids(other, 12) == _ids(one, 12)
    assert _ids(one, 12) != _ids(one, 12, seed=1)
    assert _ids(one, 30)[:12] == _ids(one, 12)
    assert sorted(_ids(one, 1000)) == [f"r{i:05d}" for i in range(40)]


def test_rows_that_a_retry_adds_leave_the_others_in_their_order(tmp_path: Path) -> None:
    rows = [row(f"r{i:05d}", "1", "1") for i in range(50)]
    run = make_run(tmp_path / "run", [[*rows, broken("r99999")]])
    before = _ids(run, 20)
    table = pa.Table.from_pylist([*rows, row("r99999", "1", "1")], SCHEMA)
    commit_shard(run.folder, "part-000", 1, table, rows_read=51)
    after = _ids(run, 20)
    assert [row_id for row_id in after if row_id != "r99999"] == before[: len(after) - after.count("r99999")]
    assert draw_sample(run, 5).population == 51


def test_bad_sizes_and_empty_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sample size 0"):
        draw_sample(_run(tmp_path / "run", [3]), 0)
    with pytest.raises(PlanError, match="no kept row"):
        draw_sample(make_run(tmp_path / "none", [[rejected("a")]]), 5)
    with pytest.raises(PlanError, match="holds no run"):
        draw_sample(RunFolder(str(tmp_path / "nowhere")), 5)
