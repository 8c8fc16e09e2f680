"""The loop and Ray give the same rows, whatever the pools; resuming and finishing again redo nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from negscale import app
from negscale.core.errors import PlanError, RunLockedError
from negscale.core.stage import Resources
from negscale.executors.drive import Silence, generate
from negscale.executors.local import LocalExecutor
from negscale.executors.ray_data import RayDataExecutor
from negscale.storage.audit import audit
from negscale.storage.lock import RunLock
from negscale.storage.parts import Commit
from negscale.storage.run_folder import RunFolder
from tests.support import calls_noted, exploding, factory, spec_of, two_stages

pytestmark = pytest.mark.timeout(600)  # Ray's start and its workers' imports take their time on a busy machine


class StopAfter(Silence):
    """Stops the driver after some commits, as an interrupt would."""

    def __init__(self, commits: int) -> None:
        self.left = commits

    def committed(self, commit: Commit) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_the_loop_resumes_without_redoing_and_ends_in_the_same_digest(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    whole = spec_of(tmp_path / "a", factory(two_stages))
    listing = whole.pipeline.source.list()
    reference = generate(whole, LocalExecutor(), listing)
    spec = spec_of(tmp_path / "b", factory(two_stages, log=str(log)))
    with pytest.raises(KeyboardInterrupt):
        generate(spec, LocalExecutor(), listing, StopAfter(4))
    run = RunFolder(spec.uri)
    assert len(run.committed()) == 4
    assert run.manifest() is None
    assert not audit(run).passed, "an unfinished run must not pass"
    manifest = generate(spec, LocalExecutor(), listing)
    assert manifest.content_digest == reference.content_digest
    assert manifest.incarnations == 2
    calls = calls_noted(log)
    assert len(calls) == len(set(calls)), "a row ran twice"
    again = generate(spec, LocalExecutor(), listing)
    assert again == manifest
    assert len(calls_noted(log)) == len(calls), "a finished run called its stages"


@pytest.mark.ray
@pytest.mark.parametrize(
    "resources",
    [Resources(), Resources(actors=2, cpus=0.2), Resources(actors=2, cpus=0.2, calls=3)],
    ids=["fused", "pools", "threads"],
)
def test_ray_gives_the_rows_of_the_loop(tmp_path: Path, ray_session: None, resources: Resources) -> None:
    build = factory(two_stages, 600, 50, resources=resources)
    local, ray = spec_of(tmp_path / "l", build), spec_of(tmp_path / "r", build)
    listing = local.pipeline.source.list()
    assert (
        generate(local, LocalExecutor(), listing).content_digest
        == generate(ray, RayDataExecutor(), listing).content_digest
    )
    assert audit(RunFolder(ray.uri)).passed
    assert not list(RunFolder(ray.uri).folder.list("attempts")), "the journal is swept"


@pytest.mark.ray
def test_children_of_an_explode_are_the_same_and_audited(tmp_path: Path, ray_session: None) -> None:
    build = factory(exploding)
    local, ray = spec_of(tmp_path / "l", build), spec_of(tmp_path / "r", build)
    listing = local.pipeline.source.list()
    manifest = generate(local, LocalExecutor(), listing)
    assert manifest.content_digest == generate(ray, RayDataExecutor(), listing).content_digest
    report = audit(RunFolder(ray.uri))
    assert report.passed
    assert report.rows_read + report.rows_added == report.kept + report.rejected
    assert report.rows_added == 2 * (300 - 24)


@pytest.mark.ray
def test_p1_on_toyworld_through_the_verbs(tmp_path: Path, ray_session: None) -> None:
    arguments = ["source.images=60", "source.shard_rows=40", f"runtime.run_root={tmp_path}"]
    ray = app.generate(app.prepare("negationclip_p1", [], arguments))
    local = app.generate(
        app.prepare("negationclip_p1", [], [*arguments, "runtime.version=loop", "runtime.executor=local"])
    )
    assert ray.content_digest == local.content_digest
    assert ray.rows_kept > 60
    assert ray.rows_quarantined == 0


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, factory(two_stages))
    listing = spec.pipeline.source.list()
    with RunLock(RunFolder(spec.uri).folder), pytest.raises(RunLockedError, match="held by process"):
        generate(spec, LocalExecutor(), listing)
    assert generate(spec, LocalExecutor(), listing).rows_read == 1000


def damage_count(run: RunFolder) -> None:
    part = next(iter(run.folder.list("quarantine"))).path
    run.folder.delete(part)


def damage_row(run: RunFolder) -> None:
    first, second = (
        entry.path for _, entry in zip(range(2), sorted(run.folder.list("data"), key=lambda e: e.path), strict=False)
    )
    run.folder.write(first, run.folder.read(second))


def damage_list(run: RunFolder) -> None:
    part = next(iter(run.folder.list("data"))).path
    run.folder.delete(part)


@pytest.mark.parametrize("damage", [damage_count, damage_row, damage_list])
def test_audit_sees_damage(tmp_path: Path, damage: Callable[[RunFolder], None]) -> None:
    spec = spec_of(tmp_path, factory(two_stages))
    generate(spec, LocalExecutor(), spec.pipeline.source.list())
    run = RunFolder(spec.uri)
    assert audit(run).passed
    damage(run)
    assert audit(run).problems


def test_too_many_faults_mark_the_run(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, factory(two_stages, 2000), quarantine_budget=0.01)
    assert generate(spec, LocalExecutor(), spec.pipeline.source.list()).status == "over_budget"


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, factory(two_stages, 0))
    with pytest.raises(PlanError, match="is empty"):
        generate(spec, LocalExecutor(), spec.pipeline.source.list())
    assert not RunFolder(spec.uri).exists()
