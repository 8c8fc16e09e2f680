from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from negscale.core.errors import AuditError, ConfigError, PlanError
from negscale.core.pipeline import Pipeline
from negscale.datasets.run import RunConfig
from negscale.executors import drive
from negscale.executors.job import Retry
from negscale.executors.local import LocalExecutor
from negscale.storage.run_folder import RunFolder
from tests.support import Arithmetic, NumberSource, spec_of, two_stages

# of 300 rows: x % 7 == 3 is refused, else x % 11 == 5 breaks (retryable)
KEPT = [x for x in range(300) if x % 7 != 3 and x % 11 != 5]


@pytest.fixture
def finished(tmp_path: Path) -> str:
    spec = spec_of(tmp_path, lambda: two_stages(300, 50), quarantine_budget=1.0)
    drive.generate(spec, LocalExecutor(), spec.pipeline.source.list())
    return spec.uri


def rows_of(config: RunConfig) -> list[dict[str, Any]]:
    source = config.build()
    found: list[dict[str, Any]] = []
    for shard in source.list().shards:
        table = source.read(shard, None)
        assert len(table) == shard.rows
        found += table.to_pylist()
    return found


def test_the_kept_rows_with_their_ids_and_columns(finished: str) -> None:
    config = RunConfig(uri=finished)
    rows = rows_of(config)
    assert [(row["id"], row["x"], row["y"], row["w"]) for row in rows] == [(f"{x:08d}", x, 2 * x, 3 * x) for x in KEPT]
    assert config.build().schema.names == ["x", "y", "w"]
    assert {row["rejection"] or row["quarantine"] for row in rows} == {None}
    assert config.reader().root == finished


def test_another_recipe_runs_on_it(finished: str, tmp_path: Path) -> None:
    source = RunConfig(uri=finished, columns=("x",)).build()
    with pytest.raises(PlanError, match="already written upstream"):
        Pipeline("again", RunConfig(uri=finished).build(), (Arithmetic("first", "y"),)).plan()
    spec = spec_of(tmp_path / "next", lambda: Pipeline("again", source, (Arithmetic("first", "y", picky=False),)))
    manifest = drive.generate(spec, LocalExecutor(), source.list())
    assert manifest.rows_kept == len(KEPT)
    assert manifest.inputs["content_digest"] == source.list().identity["content_digest"]


def test_columns_are_checked(finished: str) -> None:
    assert RunConfig(uri=finished, columns=("w", "x")).build().schema.names == ["w", "x"]
    with pytest.raises(ConfigError, match=r"has no column 'z'; its columns are \['x', 'y', 'w'\]"):
        _ = RunConfig(uri=finished, columns=("z",)).build().schema


def test_an_unfinished_run_is_refused(finished: str, tmp_path: Path) -> None:
    RunFolder(finished).forget_manifest()
    with pytest.raises(PlanError, match=r"is not finished \(6 of 6 shards\); finish it with negscale generate"):
        RunConfig(uri=finished).build().list()
    with pytest.raises(PlanError, match="holds no run"):
        RunConfig(uri=str(tmp_path / "nothing")).build().list()
    with pytest.raises(PlanError, match="holds no run"):
        _ = RunConfig(uri=str(tmp_path / "nothing")).build().schema


def test_a_part_that_went_missing_is_noticed(finished: str) -> None:
    next(Path(finished, "data").iterdir()).unlink()
    with pytest.raises(PlanError, match="not those of its manifest"):
        RunConfig(uri=finished).build().list()


def test_a_run_over_its_budget_needs_a_word(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, lambda: two_stages(1100, 100), quarantine_budget=0.01)
    drive.generate(spec, LocalExecutor(), spec.pipeline.source.list())
    with pytest.raises(PlanError, match="over its quarantine budget"):
        RunConfig(uri=spec.uri).build().list()
    kept = [x for x in range(1100) if x % 7 != 3 and x % 11 != 5]
    assert RunConfig(uri=spec.uri, allow_over_budget=True).build().list().rows == len(kept)


def test_only_the_highest_generation_counts_and_a_retry_makes_another_input(tmp_path: Path) -> None:
    def mended() -> Pipeline:
        return Pipeline("test/numbers", NumberSource(300, 50), (Arithmetic("first", "y", picky=MEND[0]),))

    MEND = [True]
    spec = spec_of(tmp_path, mended, quarantine_budget=1.0)
    drive.generate(spec, LocalExecutor(), spec.pipeline.source.list())
    source = RunConfig(uri=spec.uri).build()
    before = source.list()
    MEND[0] = False
    drive.retry(spec, LocalExecutor(), Retry())
    after = RunConfig(uri=spec.uri).build().list()
    assert (before.rows, after.rows) == (len(KEPT), len([x for x in range(300) if x % 7 != 3]))
    assert before.identity["content_digest"] != after.identity["content_digest"]
    with pytest.raises(AuditError, match="changed since it was listed"):
        source.read(before.shards[0], None)
