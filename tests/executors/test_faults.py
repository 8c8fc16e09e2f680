"""Rows that kill their worker are found; rows that were merely nearby are not blamed; an ill model stops the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from negscale.core.errors import IllModelError
from negscale.core.stage import Resources
from negscale.executors.drive import generate
from negscale.executors.ray_data import RayDataExecutor
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.support import factory, poisoned, spec_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
SIM = Resources(actors=2, cpus=0.1)


def test_exactly_the_poison_rows_are_quarantined(tmp_path: Path, ray_session: None) -> None:
    build = factory(poisoned, 400, 100, exits=(17,), segfaults=(230,), resources=SIM)
    spec = spec_of(tmp_path, build, shard_timeout_s=60)
    manifest = generate(spec, RayDataExecutor(), spec.pipeline.source.list())
    run = RunFolder(spec.uri)
    broken = {row["x"]: row["quarantine"]["kind"] for _, t in run.tables("quarantine") for row in t.to_pylist()}
    assert broken == {17: "worker_died", 230: "worker_died"}
    assert manifest.rows_kept == 398
    assert audit(run).passed


def test_a_hanging_row_is_found_by_its_timeout(tmp_path: Path, ray_session: None) -> None:
    build = factory(poisoned, 64, 32, hangs=(5,), resources=SIM)
    spec = spec_of(tmp_path, build, shard_timeout_s=4)
    generate(spec, RayDataExecutor(), spec.pipeline.source.list())
    (row,) = [row for _, t in RunFolder(spec.uri).tables("quarantine") for row in t.to_pylist()]
    assert row["x"] == 5
    assert "hung" in row["quarantine"]["message"]


def test_a_model_that_dies_for_every_row_stops_the_run(tmp_path: Path, ray_session: None) -> None:
    build = factory(poisoned, 400, 100, always=True, resources=SIM)
    spec = spec_of(tmp_path, build, shard_timeout_s=60)
    with pytest.raises(IllModelError, match=r"'poison'.*no row ever came through.*model is at fault"):
        generate(spec, RayDataExecutor(), spec.pipeline.source.list())
    assert RunFolder(spec.uri).committed() == {}
