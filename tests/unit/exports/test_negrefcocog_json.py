"""The released layout, from a real run; the overlap of two files by image number and words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from negscale import app
from negscale.core.errors import PlanError
from negscale.exports.negrefcocog_json import export_negrefcocog, overlap_with
from negscale.storage.run_folder import RunFolder
from tests.unit.exports.folders import make_run, row


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    root = tmp_path_factory.mktemp("runs")
    overrides = ["source.images=60", "source.shard_rows=40", "runtime.executor=local", f"runtime.run_root={root}"]
    prepared = app.prepare("negrefcocog", (), overrides)
    app.generate(prepared)
    return RunFolder(prepared.spec.uri)


def test_the_file_is_the_released_layout_with_the_target_anywhere(run: RunFolder, tmp_path: Path) -> None:
    result = export_negrefcocog(run, str(tmp_path / "out.json"))
    items = json.loads((tmp_path / "out.json").read_text())
    rows = {row["id"]: row for _, table in run.tables("data") for row in table.to_pylist()}
    assert result.rows == len(items) == len(rows) > 20
    for item in items:
        kept = rows[item["id"]]
        assert list(item) == ["image", "phrase", "ref_bbox", "bbox_list", "target", "id"]
        assert item["phrase"] == kept["expression"]
        assert len(item["bbox_list"]) == 2
        assert item["bbox_list"][item["target"]] == item["ref_bbox"]
        assert item["bbox_list"][0] != item["bbox_list"][1]
        assert item["ref_bbox"] == pytest.approx(kept["boxes_xywh_px"][kept["target"]], abs=0.01)
    assert {item["target"] for item in items} == {0, 1}


def test_runs_without_referring_expressions_are_refused(tmp_path: Path) -> None:
    other = make_run(tmp_path / "run", [[row("a", "1", "2")]])
    with pytest.raises(PlanError, match=r"negrefcocog-json.*boxes_xywh_px"):
        export_negrefcocog(other, str(tmp_path / "out.json"))
    assert not (tmp_path / "out.json").exists()


def test_overlap_matches_numbers_and_words() -> None:
    released = [
        {"image": "COCO_train2014_000000000007.jpg", "phrase": "A dog , no hat"},
        {"image": "COCO_train2014_000000000008.jpg", "phrase": "a dog , no hat"},
    ]
    ours = [
        {"image": "000000000007.jpg", "phrase": "a dog, no  hat"}, {"image": "000000000007.jpg", "phrase": "a dog no hat"},
        {"image": "000000000009.jpg", "phrase": "a dog no hat"},
    ]  # fmt: skip
    found = overlap_with(ours, released)
    assert (found.ours, found.released, found.common) == (2, 2, 1)
