"""Samples: every fate gets its share, equal for a seed, uniform within a fate, the counts are those of all rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from negscale.core.errors import ConfigError, PlanError
from negscale.report.gallery_sample import MAX_ROWS, Drawn, Fate, allocate, draw_rows
from negscale.review.sample import draw_sample
from negscale.storage.run_folder import RunFolder
from tests.unit.exports.folders import broken, make_run, rejected, row

KEPT: Fate = ("kept", "")


def _run(path: Path, cuts: tuple[int, ...] = (100,)) -> RunFolder:
    """80 kept, 12 rejected for one reason, 5 for another, 3 broken; cut into shards."""
    rows = [row(f"r{i:03d}", "1", "1") for i in range(80)] + [rejected(f"p{i:03d}") for i in range(12)]
    rows += [rejected(f"n{i:03d}", "check_negated_caption", "no_negation") for i in range(5)]
    rows += [broken(f"b{i:03d}") for i in range(3)]
    shards, at = [], 0
    for size in cuts:
        shards.append(rows[at : at + size])
        at += size
    return make_run(path, shards)


def _draw(run: RunFolder, size: int, **options: object) -> Drawn:
    return draw_rows(run, run.commits(), size, **options)  # type: ignore[arg-type]


def test_every_fate_gets_its_share_and_leaves_what_it_does_not_need(tmp_path: Path) -> None:
    drawn = _draw(_run(tmp_path / "run"), 40)
    counts = Counter(one.fate for one in drawn.rows)
    assert counts == {
        KEPT: 20, ("rejected", "verify_absent/object_present"): 12, ("rejected", "check_negated_caption/no_negation"): 5,
        ("quarantined", "negate_caption/unparsable"): 3,
    }  # fmt: skip
    assert list(drawn.fates.items())[:2] == [(KEPT, 80), (("rejected", "verify_absent/object_present"), 12)]
    assert drawn.population == 100
    for one in drawn.rows:
        assert one.row["id"][0] == {"kept": "r", "quarantined": "b"}.get(one.fate[0], one.row["id"][0])
        assert (one.row["quarantine"] is not None) == (one.fate[0] == "quarantined")


@pytest.mark.parametrize("how", ["by-reason", "uniform"])
def test_a_seed_gives_its_rows_however_the_shards_are_cut(tmp_path: Path, how: str) -> None:
    one, other = _run(tmp_path / "one"), _run(tmp_path / "other", (7, 60, 33))
    ids = [drawn.row["id"] for drawn in _draw(one, 30, how=how).rows]
    assert ids == [drawn.row["id"] for drawn in _draw(other, 30, how=how).rows]
    assert ids != [drawn.row["id"] for drawn in _draw(one, 30, how=how, seed=1).rows]
    assert len(ids) == len(set(ids)) == 30


def test_the_uniform_sample_is_uniform_over_all_rows(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    seen = Counter(one.row["id"] for seed in range(300) for one in _draw(run, 10, how="uniform", seed=seed).rows)
    expected = 300 * 10 / 100
    chi_squared = sum((seen[name] - expected) ** 2 / expected for name in seen) + (100 - len(seen)) * expected
    assert chi_squared < 99 + 4 * (2 * 99) ** 0.5  # 99 degrees of freedom, four standard deviations


def test_kept_rows_are_those_that_review_shows_first(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    kept = [one.row["id"] for one in _draw(run, 40).rows if one.fate == KEPT]
    assert kept == [shown["id"] for shown in draw_sample(run, len(kept)).rows]


@pytest.mark.parametrize("total", [1, 2, 3, 10, 99, 100, 101])
def test_shares_add_up(total: int) -> None:
    sizes: dict[Fate, int] = {KEPT: 80, ("rejected", "a"): 12, ("rejected", "b"): 5, ("quarantined", "c"): 3}
    given = allocate(sizes, total)
    assert sum(given.values()) == min(total, 100)
    assert all(given[fate] <= size for fate, size in sizes.items())


def test_running_runs_bad_sizes_and_empty_runs(tmp_path: Path) -> None:
    running = make_run(tmp_path / "running", [[row("a", "1", "1")]], finish=False)
    assert [one.row["id"] for one in _draw(running, 5).rows] == ["a"]
    for size in (0, -1, MAX_ROWS + 1):
        with pytest.raises(ConfigError, match=f"--rows {size}"):
            _draw(running, size)
    with pytest.raises(PlanError, match="no finished shard"):
        _draw(make_run(tmp_path / "empty", [], finish=False), 5)
    assert len(_draw(make_run(tmp_path / "refused", [[rejected("a")]]), 5).rows) == 1
