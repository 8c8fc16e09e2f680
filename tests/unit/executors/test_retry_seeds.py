"""A retry draws other seeds than the first time, and the same ones wherever it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from negscale import app
from negscale.core.run import Manifest
from negscale.storage.run_folder import RunFolder

# one attempt, so that a black picture is quarantined at once
ARGUMENTS = [
    "source.images=24", "source.shard_rows=8", "editor.blank=0.3", "edits.max_attempts=1", "runtime.quarantine_budget=1",
    "runtime.executor=local",
]  # fmt: skip


def first_run(root: Path) -> RunFolder:
    prepared = app.prepare("nein", (), [*ARGUMENTS, f"runtime.run_root={root}"])
    app.generate(prepared)
    return RunFolder(prepared.spec.uri)


def blank(run: RunFolder) -> set[str]:
    return {
        row["id"] for _, table in run.tables("quarantine") for row in table.to_pylist()
        if row["quarantine"]["kind"] == "blank_edit"
    }  # fmt: skip


def kept(run: RunFolder) -> dict[str, Any]:
    return {
        row["id"]: row for kind in ("data", "rejected") for _, table in run.tables(kind) for row in table.to_pylist()
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    return [first_run(tmp_path_factory.mktemp(name)) for name in ("a", "b")]


def retried(run: RunFolder) -> Manifest:
    manifest, tried = app.retry(run.uri)
    assert tried > 0
    return manifest


def test_blank_edits_are_made_again_with_new_seeds_and_alike(runs: list[RunFolder]) -> None:
    before = [blank(run) for run in runs]
    assert before[0] == before[1]
    count = len(before[0])
    assert 20 < count < 60, "three in ten of some 120"
    untouched = kept(runs[0])
    digests = [retried(run).content_digest for run in runs]
    left = blank(runs[0])
    assert left < before[0]
    assert 0.1 < len(left) / count < 0.55, "three in ten again: the seeds are new"
    assert digests[0] == digests[1]
    after = kept(runs[0])
    assert {name: after[name] for name in untouched} == untouched
    # a second retry draws other seeds once more
    retried(runs[0])
    assert len(blank(runs[0])) < len(left)
    assert not {"_wake", "_tried"} & set(next(table for _, table in runs[0].tables("data")).column_names)
