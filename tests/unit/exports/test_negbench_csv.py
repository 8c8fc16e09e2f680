"""The negbench-csv export: parsed as the released loader does (csv, literals), for each kind of run."""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from negscale.core.errors import PlanError
from negscale.datasets.images import ImageReader
from negscale.exports.negbench_csv import export_negbench_csv, parent_of
from negscale.storage.run_folder import RunFolder
from tests.unit.exports.folders import SCHEMA, broken, make_run, rejected, row
from tests.unit.exports.pictures import ODD, QUESTIONS, RETRIEVAL, SEVERAL, question, reference, several


def _export(run: RunFolder, tmp_path: Path, file: str, **options: Any) -> tuple[list[str], list[dict[str, Any]]]:
    """(header, lines) with list cells evaluated as literals."""
    out = tmp_path / "out"
    result = export_negbench_csv(run, str(out), **options)
    with (out / file).open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        lines: list[dict[str, Any]] = [
            {k: ast.literal_eval(v) if v.startswith("[") else v for k, v in line.items()} for line in reader
        ]
    assert result.rows == len(lines)
    return list(reader.fieldnames or []), lines


def test_p1_rows_become_caption_lines(tmp_path: Path) -> None:
    rows = [row("a", "1", "1", caption='say "no", please\nnow'), row("b", "1", "2"), rejected("r"), broken("q")]
    header, lines = _export(make_run(tmp_path / "run", [rows]), tmp_path, "captions.csv")
    assert header == ["filepath", "caption", "extracted_objects", "negative_objects", "negative_captions"]
    assert lines[0] == {
        "filepath": "val2017/1.jpg", "caption": 'say "no", please\nnow', "extracted_objects": [],
        "negative_objects": ["cat"], "negative_captions": ["a dog beside a without a cat"],
    }  # fmt: skip
    assert [line["caption"] for line in lines[1:]] == ["a dog beside b"]


def test_captions_of_one_parent_are_one_line_again(tmp_path: Path) -> None:
    rows = [several(f"r#{k}", text) for k, text in enumerate(ODD)]
    rows += [several("s#0", "only this was kept"), several("t", "never exploded")]
    rows.append(several("r#5", "", rejection={"stage": "check", "reason": "no"}))
    _, lines = _export(make_run(tmp_path / "run", [rows], SEVERAL), tmp_path, "captions.csv")
    assert [line["filepath"] for line in lines] == ["val/r.jpg", "val/s.jpg", "val/t.jpg"]
    assert lines[0]["negative_captions"] == ODD
    assert lines[0]["extracted_objects"] == ["dog", "tree"]
    assert lines[0]["negative_objects"] == ["cat", "car"]
    assert lines[1]["negative_captions"] == ["only this was kept"]
    assert (parent_of("r#1#2"), parent_of("r")) == ("r#1", "r")


def test_question_rows(tmp_path: Path) -> None:
    rows = [question("a"), question("b", options=ODD[:4], answer=3, question_type="negative")]
    header, lines = _export(make_run(tmp_path / "run", [rows], QUESTIONS), tmp_path, "questions.csv")
    assert header == [
        "image_path", "correct_answer", "caption_0", "caption_1", "caption_2", "caption_3", "correct_answer_template"
    ]  # fmt: skip
    assert [line["correct_answer"] for line in lines] == ["1", "3"]
    assert [lines[1][f"caption_{k}"] for k in range(4)] == ODD[:4]
    assert lines[1]["correct_answer_template"] == "negative"
    assert lines[0]["image_path"] == "val/a.jpg"


def test_retrieval_rows(tmp_path: Path) -> None:
    columns = {
        "id": "a", "rejection": None, "quarantine": None, "image": reference("val/a.jpg"), "image_id": "17",
        "captions": ODD, "positive_objects": ["dog"], "negative_objects": [],
    }  # fmt: skip
    header, lines = _export(make_run(tmp_path / "run", [[columns]], RETRIEVAL), tmp_path, "retrieval.csv")
    assert header == ["positive_objects", "negative_objects", "filepath", "image_id", "captions"]
    assert lines == [
        {
            "positive_objects": ["dog"],
            "negative_objects": [],
            "filepath": "val/a.jpg",
            "image_id": "17",
            "captions": ODD,
        }
    ]


def test_images_inside_of_other_files_are_copied_and_those_that_cannot_be_are_listed(tmp_path: Path) -> None:
    rows = [
        row("a-0", "1", "1", image=reference("toyworld:0/3")), row("a-1", "1", "2", image=reference("toyworld:0/3")),
        row("b", "2", "1", image=reference("none.tar", 512, 10)), row("c", "3", "1", image=None),
    ]  # fmt: skip
    run = make_run(tmp_path / "run", [rows])
    _, lines = _export(run, tmp_path, "captions.csv", reader=ImageReader(str(tmp_path)))
    assert len(lines) == 2
    assert lines[0]["filepath"] == lines[1]["filepath"]
    assert (tmp_path / "out" / lines[0]["filepath"]).read_bytes() == ImageReader().read_bytes(reference("toyworld:0/3"))
    assert len(list((tmp_path / "out/images").iterdir())) == 1
    missing = [json.loads(line) for line in (tmp_path / "out/missing_images.jsonl").read_text().splitlines()]
    assert [(m["id"], m["kind"]) for m in missing] == [("b", "missing_image"), ("c", "missing_image")]
    assert "The images of 2 rows could not be read" in (tmp_path / "out/README.md").read_text()


def test_the_card_belongs_to_the_file(tmp_path: Path) -> None:
    _export(make_run(tmp_path / "run", [[question("a")]], QUESTIONS), tmp_path, "questions.csv")
    _, front, body = (tmp_path / "out/README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["configs"][0]["data_files"][0]["path"] == "questions.csv"
    assert "| `correct_answer_template` |" in body
    assert "| hybrid | 1 | 100.0% |" in body
    assert (tmp_path / "out/recipe.yaml").exists()


def test_refusals_name_what_is_missing(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    schema = SCHEMA.remove(SCHEMA.get_field_index("negated_caption"))
    bare = {k: v for k, v in row("a", "1", "1").items() if k != "negated_caption"}
    with pytest.raises(PlanError, match=r"captions\.csv needs caption, negated_caption"):
        export_negbench_csv(make_run(tmp_path / "bare", [[bare]], schema), out)
    half = RETRIEVAL.remove(RETRIEVAL.get_field_index("negative_objects"))
    columns = {"id": "a", "image": None, "image_id": "1", "captions": [], "positive_objects": []}
    with pytest.raises(PlanError, match=r"retrieval\.csv needs the columns \['negative_objects'\]"):
        export_negbench_csv(make_run(tmp_path / "half", [[columns]], half), out)
    uneven = [question("a"), question("b", options=["yes", "no"])]
    with pytest.raises(PlanError, match="same number of options"):
        export_negbench_csv(make_run(tmp_path / "uneven", [uneven], QUESTIONS), out)
    with pytest.raises(PlanError, match="'a' has 4 options and the answer 4"):
        export_negbench_csv(make_run(tmp_path / "bad", [[question("a", answer=4)]], QUESTIONS), out)
    sick = [broken(f"q{i:04d}") for i in range(100)] + [row(f"k{i:04d}", "1", "1") for i in range(900)]
    run = make_run(tmp_path / "sick", [sick])
    with pytest.raises(PlanError, match="--allow-over-budget"):
        export_negbench_csv(run, out)
    assert not Path(out).exists()
    assert export_negbench_csv(run, out, allow_over_budget=True).rows == 900


def test_a_run_that_kept_nothing_has_its_header(tmp_path: Path) -> None:
    header, lines = _export(make_run(tmp_path / "run", [[rejected("r")]]), tmp_path, "captions.csv")
    assert (len(header), lines) == (5, [])
