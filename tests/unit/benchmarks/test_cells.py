"""Cells survive their JSON, headlines are chosen by task, damaged folders are named."""

from __future__ import annotations

import json
from math import isnan, nan
from pathlib import Path

import pytest

from negscale.benchmarks.cells import (
    SUITE,
    Cell,
    Gain,
    Pair,
    Published,
    Suite,
    SuiteModel,
    cell_path,
    read_suite,
    suite_json,
    write_cell,
    write_paired,
    write_suite,
)
from negscale.benchmarks.evaluation import Score
from negscale.core.benchmark import Estimate
from negscale.core.errors import AuditError, ConfigError
from negscale.storage.folder import open_folder

NAME = "negbench/mcq-coco"
RECALLS = tuple(
    Score(f"text_to_image/recall@{k}", "fraction", True, Estimate(0.1 * k, 9, 1, 0.0, 1.0), Estimate(0.2, 9, 1))
    for k in (1, 5, 10)
)


def cell(model: str) -> Cell:
    return Cell(
        NAME, 1, "NegBench", "retrieve", model, "open_clip/a@b", "cosine", 10, 1, {"texts cut by the model": 2},
        {"x": "why"}, RECALLS, {"type prior": Estimate(0.5, 10, 0, 0.4, 0.6), "odd": Estimate(nan, 0, 10)},
        Gain("type prior", 0.1, -0.1, 0.2, 0.3), (Published("CLIP", "accuracy", 0.39, "paper", ("a fault",), "paper"),),
        {"files": {"a.csv": "00"}}, ("a known fault",),
    )  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> str:
    folder = open_folder(str(tmp_path))
    models = (SuiteModel("m", "open_clip/a@b", "cosine", {"kind": "x"}), SuiteModel("n", "open_clip/a@c", "cosine"))
    for model in models:
        write_cell(folder, cell(model.key))
    write_paired(folder, NAME, (Pair("m", "n", "accuracy", 0.1, 0.0, 0.2, 0.04, "mcnemar"),))
    write_suite(folder, Suite(str(tmp_path), "/data", "/images", models, (NAME,), refused={"cc-neg": "another split"}))
    return str(tmp_path)


def test_a_folder_comes_back_as_it_was_written(written: str) -> None:
    suite = read_suite(written)
    found = suite.cells[NAME, "m"]
    assert isnan(found.controls["odd"].value)
    assert found.controls["odd"].missing == 10
    same = cell("m")
    assert (found.scores, found.gain, found.reference, found.notes) == (
        same.scores,
        same.gain,
        same.reference,
        same.notes,
    )
    assert found.headline.name == "text_to_image/recall@5"
    assert suite.paired[NAME][0].p == 0.04
    assert [model.key for model in suite.models] == ["m", "n"]
    shown = json.loads(suite_json(suite))
    assert len(shown["cells"]) == 2
    assert shown["cells"][0]["controls"]["odd"]["value"] is None
    facts = json.loads(Path(written, SUITE).read_text())
    assert set(facts) == {
        "data_root", "image_root", "models", "benchmarks", "absent", "refused", "not_scored", "negscale", "seed",
    }  # fmt: skip


def test_what_is_no_evaluation_is_named(written: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no suite\.json"):
        read_suite(str(tmp_path / "nothing"))
    path = Path(written, cell_path(NAME, "n"))
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "items": "many"}))
    with pytest.raises(AuditError, match=r"mcq-coco/n\.json: items: .*another version"):
        read_suite(written)
    path.unlink()
    with pytest.raises(AuditError, match="cannot be read"):
        read_suite(written)
    path.write_text(json.dumps(content))
    with pytest.raises(AuditError, match=r"items/negbench/mcq-coco/n\.parquet cannot be read"):
        read_suite(written).items(NAME, "n")
