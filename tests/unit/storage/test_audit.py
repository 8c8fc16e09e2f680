"""Auditing a run over the rows of another run, whose ids are those of children already; and that losses are still found."""

from __future__ import annotations

from pathlib import Path

from negscale.core.explode import Explode
from negscale.core.pipeline import Pipeline
from negscale.datasets.run import RunConfig
from negscale.executors.drive import generate
from negscale.executors.local import LocalExecutor
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests import support


def run(root: Path, pipeline: Pipeline, version: str) -> RunFolder:
    spec = support.spec_of(root, lambda: pipeline, version)
    generate(spec, LocalExecutor(), pipeline.source.list())
    return RunFolder(spec.uri)


def again(first: RunFolder) -> Pipeline:
    """Some children of the first run are refused before they have children of their own."""
    source = RunConfig(uri=first.uri, columns=("x",)).build()
    steps = (support.Arithmetic("first", "y"), support.Kids(), Explode("kids", "kid"), support.UseKid())
    return Pipeline("test/again", source, steps)


def test_children_of_children_are_told_from_rows_that_were_children_before(tmp_path: Path) -> None:
    first = run(tmp_path, support.exploding(rows=60, shard_rows=20), "one")
    second = run(tmp_path, again(first), "two")
    report = audit(second)
    assert report.passed, report.problems
    assert report.rejected > 0
    assert report.rows_added > 0
    plain = run(tmp_path, Pipeline("test/plain", RunConfig(uri=first.uri).build(), ()), "three")
    assert audit(plain).passed


def test_a_part_that_is_gone_is_found(tmp_path: Path) -> None:
    first = run(tmp_path, support.exploding(rows=60, shard_rows=20), "one")
    second = run(tmp_path, again(first), "two")
    next((Path(second.uri) / "rejected").iterdir()).unlink()
    assert not audit(second).passed
