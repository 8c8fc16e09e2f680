"""NegBench's four recipes on drawn scenes, end to end in the loop: what they say is true of the drawing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from negscale import app
from negscale.datasets.toy_scenes import scene
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder


def rows_of(name: str, tmp_path: Path, *overrides: str) -> list[dict[str, Any]]:
    keys = ["runtime.executor=local", f"runtime.run_root={tmp_path}", "source.images=24", *overrides]
    prepared = app.prepare(name, (), keys)
    app.generate(prepared)
    run = RunFolder(prepared.spec.uri)
    assert audit(run).passed
    return [row for _, table in run.tables("data") for row in table.to_pylist()]


def present(row: dict[str, Any]) -> frozenset[str]:
    return scene(0, int(row["image_id"].split("-")[1])).names


def test_negcap_denies_three_absent_objects_a_caption(tmp_path: Path) -> None:
    rows = rows_of("negbench_negcap", tmp_path)
    assert all(row["absent_object"] not in present(row) for row in rows)
    assert all(set(row["positive_objects"]) <= present(row) for row in rows)
    per_caption = Counter(row["id"].partition("#")[0] for row in rows)
    assert set(per_caption.values()) == {3}
    assert len({(row["id"].partition("#")[0], row["absent_object"]) for row in rows}) == len(rows)
    orders = Counter(row["caption_order"] for row in rows)
    assert min(orders.values()) > 0.35 * len(rows)
    assert all(row["negation_position"] == "early" for row in rows if row["caption_order"] == "negation_first")


@pytest.mark.parametrize("overrides", [(), ("writer={kind: template_negater}",), ("writer={kind: realiser}",)])
def test_retrieval_captions_deny_one_absent_object(overrides: tuple[str, ...], tmp_path: Path) -> None:
    rows = rows_of("negbench_retrieval_neg", tmp_path, *overrides)
    assert len(rows) > 40
    assert all(row["absent_object"] not in present(row) for row in rows)


@pytest.mark.parametrize("name", ["negbench_negmcq", "negbench_mcq_neg"])
@pytest.mark.parametrize("overrides", [(), ("rephraser=null",), ("rephraser={kind: grammar_rephraser}",)])
def test_exactly_the_answer_is_true_of_the_drawing(name: str, overrides: tuple[str, ...], tmp_path: Path) -> None:
    rows = rows_of(name, tmp_path, *overrides)
    assert len(rows) > 40
    for row in rows:
        names = present(row)
        truth = [set(s["affirmed"]) <= names and not set(s["denied"]) & names for s in row["option_statements"]]
        assert truth == [k == row["answer"] for k in range(4)], row
    assert len({row["answer"] for row in rows}) == 4
    assert {"negative", "hybrid"} < {row["question_type"] for row in rows}
