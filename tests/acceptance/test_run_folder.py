"""The run folder's promises: two writers, another recipe, retry; on disks and on an emulated S3."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import pytest

from negscale import app
from negscale.core.errors import PlanError
from negscale.core.run import identity_of
from negscale.executors.drive import generate
from negscale.executors.job import Job, Task
from negscale.executors.local import LocalExecutor
from negscale.prompts import negationclip as prompts
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.verdict import verdict
from tests.support import spec_of, two_stages

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_two_live_writers_with_different_outcomes(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = str(tmp_path) if place == "disk" else request.getfixturevalue("s3_uri")
    builds = [functools.partial(two_stages, 400, 20, factor=factor, ms=0.2) for factor in (2, 5)]
    specs = [spec_of(root, build) for build in builds]
    listing = specs[0].pipeline.source.list()
    run = RunFolder(specs[0].uri)
    shards = run.open(specs[0].name, "v", identity_of(specs[0].pipeline, {}, listing), "{}\n", listing)
    barrier = threading.Barrier(2)
    won: list[dict[str, str]] = [{}, {}]

    def write(me: int) -> None:  # past the lock on purpose: two drivers that both believe they hold the folder
        barrier.wait()
        job = Job(builds[me], run.uri, f"driver{me}", specs[me].runtime)
        tasks = [Task(s, i) for i, s in enumerate(shards)][:: 1 if me == 0 else -1]
        LocalExecutor().execute(job, tasks, lambda commit: won[me].update({commit.shard: commit.attempt}))

    threads = [threading.Thread(target=write, args=(me,)) for me in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    manifest = generate(specs[0], LocalExecutor(), listing)  # nothing left to do: sweeps and writes the manifest
    report = audit(RunFolder(specs[0].uri))
    factors = [{row["y"] // row["x"] for row in t.to_pylist() if row["x"]} for _, t in run.tables("data")]
    whole = all(len(found) == 1 for found in factors)
    verdict(
        f"two live writers on {place}: one wins each shard whole",
        whole and report.passed and won[0] == won[1] and report.orphans == 0 and manifest.rows_read == 400,
        shards=len(factors), won_by_first=sum(f == {2} for f in factors), won_by_second=sum(f == {5} for f in factors),
        audit=report.passed, orphans=report.orphans,
    )  # fmt: skip


def p1(root: Path, *overrides: str) -> app.Prepared:
    base = ["source.images=150", "source.shard_rows=60", "runtime.executor=local", f"runtime.run_root={root}"]
    return app.prepare("negationclip_p1", [], [*base, *overrides])


def test_a_changed_recipe_is_refused_with_the_first_differing_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = p1(tmp_path)
    app.generate(first)
    old = first.fingerprint
    said: dict[str, str] = {}

    def refused(what: str, *overrides: str) -> None:
        with pytest.raises(PlanError) as caught:
            app.generate(p1(tmp_path, *overrides))
        said[what] = str(caught.value)

    refused("seed", "seed=5")
    refused("threshold", "check.max_words=40")
    refused("model", "negater.kind=realiser")
    refused("source", "source.images=151")
    monkeypatch.setattr(prompts, "NEGATE", "Please add the absence of the {object} to the caption '{caption}'.")
    refused("prompt")
    expected = {
        "seed": "recipe.seed was 0, is 5", "threshold": "recipe.check.max_words was 60, is 40",
        "model": "models.negater was", "source": "input.images was 150, is 151", "prompt": ".negate was",
    }  # fmt: skip
    good = all(expected[k] in said[k] and old in said[k] for k in expected)
    forked = app.prepare_config(first.recipe, p1(tmp_path, "seed=5").config, fork=True)
    verdict(
        "a changed recipe is refused with both fingerprints and the first differing key",
        good and forked.spec.version == "dev-2", **{k: said[k].partition("first difference: ")[2][:60] for k in said},
    )  # fmt: skip


def test_retry_moves_mended_rows_and_touches_no_other(tmp_path: Path) -> None:
    malformed = ["proposer.chat.misbehaviour.malformed=0.7", "runtime.quarantine_budget=1"]
    manifest = app.generate(p1(tmp_path / "a", *malformed))
    clean = app.generate(p1(tmp_path / "b"))
    run = RunFolder(p1(tmp_path / "a").spec.uri)
    before = _rows(run)
    broken = {i for i, (place, _) in before.items() if place == "quarantine"}
    half = app.retry(run.uri, ["kind=nothing_like_it"])
    after_nothing = _rows(run)
    mended, tried = app.retry(run.uri, ["kind=unparsable"], ["proposer.chat.misbehaviour.malformed=0"])
    after = _rows(run)
    untouched = all(after[i] == before[i] for i in before if i not in broken)
    report = audit(run)
    verdict(
        "retry after mending: quarantined rows move, no other row is touched",
        bool(broken) and tried == len(broken) and half[1] == 0 and after_nothing == before and untouched and report.passed
        and mended.rows_quarantined == 0,
        quarantined=manifest.rows_quarantined, tried=tried, kept_before=manifest.rows_kept, kept_after=mended.rows_kept,
        rejected_after=mended.rows_rejected, clean_run_kept=clean.rows_kept, audit=report.passed,
    )  # fmt: skip


def _rows(run: RunFolder) -> dict[str, tuple[str, Any]]:
    return {
        row["id"]: (kind, row)
        for kind in ("data", "rejected", "quarantine")
        for _, t in run.tables(kind)
        for row in t.to_pylist()
    }
