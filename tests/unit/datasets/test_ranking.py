"""A sharded ranking gives the places of the one in process, on any division into blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from negscale.core.errors import AuditError, ConfigError
from negscale.core.runtime import RuntimeConfig
from negscale.datasets.ranking import RankingSetConfig, RankingVectors, write_ranking_set
from negscale.metrics.ranking import rank
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from negscale.suite import sharded_ranker


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """50 queries, 30 items of which some are equal, a query that is not finite and one without a right item."""
    rng = np.random.default_rng(0)
    queries, items = rng.normal(size=(50, 8)).astype(np.float32), rng.normal(size=(30, 8)).astype(np.float32)
    items[7] = items[3]
    queries[11] = np.nan
    right = [sorted(rng.choice(30, size=1 + n % 3, replace=False).tolist()) for n in range(50)]
    right[5], right[20] = [], [3]
    return queries, items, right


def test_blocks_as_shards_give_the_same_places(
    problem: tuple[np.ndarray, np.ndarray, list[list[int]]], tmp_path: Path
) -> None:
    whole = rank(*problem)
    runtime = RuntimeConfig(executor="local")
    found = sharded_ranker(str(tmp_path), runtime, block=16)(*problem)
    for name in ("above", "tied", "positives", "before"):
        assert np.array_equal(getattr(found, name), getattr(whole, name)), name
    assert (whole.above < 0).sum() == 2
    run = next((tmp_path / "ranking").iterdir())
    assert len(RunFolder(str(run)).shards()) == 4
    assert audit(RunFolder(str(run))).passed
    small = sharded_ranker(str(tmp_path / "none"), runtime, block=16, sharded_from=50 * 30 + 1)(*problem)
    assert np.array_equal(small.above, whole.above)
    assert not (tmp_path / "none").exists()


def test_sets_are_named_by_content_and_read_by_range(
    problem: tuple[np.ndarray, np.ndarray, list[list[int]]], tmp_path: Path
) -> None:
    queries, items, right = problem
    name, uri = write_ranking_set(str(tmp_path), queries, items, right, 16)
    assert write_ranking_set(str(tmp_path), queries, items, right, 16) == (name, uri)
    assert write_ranking_set(str(tmp_path), queries, items, right, 8)[0] != name
    vectors = RankingVectors(uri)
    assert np.array_equal(vectors.items(), items)
    assert np.array_equal(vectors.queries([13, 12, 16]), queries[[13, 12, 16]])
    with pytest.raises(ConfigError, match=r"no queries\.parquet"):
        RankingSetConfig(uri=str(tmp_path)).build().list()
    (tmp_path / name / "items.f32").write_bytes(b"12345")
    with pytest.raises(AuditError, match="5 bytes are no rows of 8 numbers"):
        RankingVectors(uri).items()
