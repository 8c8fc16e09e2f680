"""Readers of released files: what they give, what they notice, what they refuse and where."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from negscale.benchmarks.catalogue import RELEASED, released, survey
from negscale.benchmarks.ccneg import CC_NEG
from negscale.benchmarks.mcq_neg import BINARY_MEDICAL, MCQ_COCO, MCQ_SYNTHETIC
from negscale.benchmarks.negrefcocog import NEGREFCOCOG
from negscale.benchmarks.released import questions_of
from negscale.benchmarks.retrieval_neg import RETRIEVAL_COCO
from negscale.benchmarks.sugarcrepe import SUGARCREPE
from negscale.benchmarks.two_by_two import TWO_BY_TWO
from negscale.benchmarks.valse import EXISTENCE, EXISTENCE_VALIDATED
from negscale.core.errors import ConfigError
from tests.unit.benchmarks.files import MCQ, RETRIEVAL


def written(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    path.write_bytes((content if isinstance(content, str) else json.dumps(content)).encode())
    return str(path)


def test_mcq_with_windows_line_ends_and_duplicates(tmp_path: Path) -> None:
    last = MCQ.splitlines(keepends=True)[-1]
    reading = MCQ_COCO.items(written(tmp_path, "COCO_val_mcq_x.csv", MCQ + last))
    rows = reading.items.to_pylist()
    assert reading.notes == {"duplicated rows": 1}
    assert [row["id"] for row in rows] == [f"COCO_val_mcq_x/{n:06d}" for n in range(3)]
    assert rows[0]["texts"] == ["A knife, but no car.", "A car, but no knife.", "A car.", "No knife."]
    assert [(row["answer"], row["type"]) for row in rows] == [(0, "hybrid"), (1, "negative"), (1, "negative")]
    questions = questions_of("x", reading.items)
    assert questions.options[1][1] == "There is no car."
    with pytest.raises(ConfigError, match=r"line 2: correct_answer is '4'; expected 0\.\.3"):
        MCQ_COCO.items(written(tmp_path, "bad.csv", MCQ.replace(".jpg,0,", ".jpg,4,")))


def test_types_that_the_file_does_not_name(tmp_path: Path) -> None:
    synthetic = "image_path,correct_answer,caption_0,caption_1,caption_2,caption_3\na,0,w,x,y,z\nb,1,w,x,y,z\n"
    assert MCQ_SYNTHETIC.items(written(tmp_path, "s.csv", synthetic)).items["type"].to_pylist() == [
        "positive",
        "hybrid",
    ]
    binary = "image_path,correct_answer,caption_0,caption_1\nvalid/p1/s1/view1.jpg,0,x,y\n"
    paths = [written(tmp_path, f"lung_{kind}_binary_mcq.csv", binary) for kind in ("control", "negation")]
    assert BINARY_MEDICAL.items(*paths).items["type"].to_pylist() == ["control", "negation"]


def test_retrieval_lists_are_parsed_and_never_run(tmp_path: Path) -> None:
    again = RETRIEVAL.splitlines(keepends=True)[1]
    rows = RETRIEVAL_COCO.items(written(tmp_path, "r.csv", RETRIEVAL + again)).items.to_pylist()
    assert [row["texts"] for row in rows] == [["A dog.", "A dog's bowl."] * 2, ["A cat."]]
    plain = "image_id,captions,filepath,all_captions\nv1,a man sings,videos/v1.mp4,[]\n"
    assert RETRIEVAL_COCO.items(written(tmp_path, "v.csv", plain)).items["texts"].to_pylist() == [["a man sings"]]
    trap = tmp_path / "trap"
    evil = f"[open({str(trap)!r}, 'w')]"
    for cell, message in ((evil, "no Python list of texts"), ("[]", "one or more texts"), ("[1]", "one or more texts")):
        with pytest.raises(ConfigError, match=f"line 2: captions is .*{message}"):
            RETRIEVAL_COCO.items(written(tmp_path, "e.csv", f'filepath,captions\na.jpg,"{cell}"\n'))
    assert not trap.exists()
    with pytest.raises(ConfigError, match="no column 'captions'; it holds filepath, caption"):
        RETRIEVAL_COCO.items(written(tmp_path, "n.csv", "filepath,caption\na,b\n"))
    with pytest.raises(ConfigError, match="line 2: expected 2 cells"):
        RETRIEVAL_COCO.items(written(tmp_path, "c.csv", "filepath,captions\na.jpg,one, two\n"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox_list": [[0, 0, 5, 5]]}, "not one of two or more boxes"),
        ({"ref_bbox": [1, 1, 5, 5]}, "not one of two or more boxes"),
        ({"bbox_list": [[0, 0, 5, 5], [0, 0, 0, 5]]}, "is no box"),
        ({"bbox_list": [[0, 0, 5, 5], [0, 0, 5]]}, "is no box"),
        ({"phrase": None}, "item 1: no 'phrase'"),
    ],
)
def test_regions(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    item = {"image": "COCO_train2014_000000000001.jpg", "phrase": "no hat", "ref_bbox": [0, 0, 5, 5]}
    good = {**item, "bbox_list": [[3, 0, 5.5, 5], [0, 0, 5, 5]]}
    row = NEGREFCOCOG.items(written(tmp_path, "g.json", [good])).items.to_pylist()[0]
    assert (row["answer"], row["texts"], row["boxes_xywh_px"][0]) == (1, ["no hat"], [3, 0, 5.5, 5])
    bad = {key: value for key, value in {**good, **change}.items() if value is not None}
    with pytest.raises(ConfigError, match=message):
        NEGREFCOCOG.items(written(tmp_path, "g.json", [good, bad]))


def test_groups_as_csv_and_json_lines(tmp_path: Path) -> None:
    table = "group,image_a,image_b,caption_a,caption_b\ng1,a.jpg,b.jpg,A cat.,No cat.\n"
    lines = {"image_0": "a.jpg", "image_1": "b.jpg", "caption_0": "A cat.", "caption_1": "No cat.", "tag": "object"}
    for path in (written(tmp_path, "t.csv", table), written(tmp_path, "t.jsonl", json.dumps(lines) + "\n")):
        row = TWO_BY_TWO.items(path).items.to_pylist()[0]
        assert (row["images"], row["texts"]) == (["a.jpg", "b.jpg"], ["A cat.", "No cat."])
    with pytest.raises(ConfigError, match="expected the columns image_a"):
        TWO_BY_TWO.items(written(tmp_path, "u.csv", "image,caption\na,b\n"))
    with pytest.raises(ConfigError, match="row 0: caption_b is ''"):
        TWO_BY_TWO.items(written(tmp_path, "u.csv", table.replace("No cat.", "")))


def test_cc_neg_is_plain_data_and_ends_with_the_evaluation_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    notes = [{"json": {"caption": f"c{n}"}, "sop_data": {"negative-prompt": f"no c{n}"}} for n in range(5)]
    content = {"image_paths": [f"cc3m/{n}.jpg" for n in range(5)], "annotations": notes}
    path = tmp_path / "ccneg_preprocessed.pt"
    torch.save(content, path)
    monkeypatch.setattr("negscale.benchmarks.ccneg.EVALUATION_ITEMS", 2)
    rows = CC_NEG.items(str(path)).items.to_pylist()
    assert [row["texts"] for row in rows] == [["c3", "no c3"], ["c4", "no c4"]]
    assert CC_NEG.items(written(tmp_path, "ccneg.json", content)).items["texts"].to_pylist()[0] == ["c3", "no c3"]
    torch.save({"image_paths": [], "annotations": Path("x")}, path)  # would have to be unpickled
    with pytest.raises(ConfigError, match="no torch file of plain values"):
        CC_NEG.items(str(path))
    with pytest.raises(ConfigError, match="item 0: no 'sop_data'"):
        CC_NEG.items(
            written(tmp_path, "ccneg.json", {"image_paths": ["a"], "annotations": [{"json": {"caption": ""}}]})
        )


def test_a_root_is_surveyed_and_what_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "sugarcrepe").mkdir()
    pair = {"0": {"filename": "1.jpg", "caption": "A cat.", "negative_caption": "A dog."}}
    for name in ("swap_obj.json", "add_att.json"):
        written(tmp_path / "sugarcrepe", name, pair)
    for name in ("COCO_val_mcq_a.csv", "COCO_val_mcq_b.csv"):
        written(tmp_path, name, MCQ)
    present, absent = survey(str(tmp_path))
    found = {one.benchmark.name: one for one in present}
    assert set(found) == {"sugarcrepe", "negbench/mcq-coco"}
    assert [path.rpartition("/")[2] for path in found["sugarcrepe"].paths] == ["add_att.json", "swap_obj.json"]
    assert SUGARCREPE.items(*found["sugarcrepe"].paths).items["type"].to_pylist() == ["add_att", "swap_obj"]
    assert [path.rpartition("/")[2] for path in found["negbench/mcq-coco"].unread] == ["COCO_val_mcq_b.csv"]
    assert len(present) + len(absent) == len(RELEASED)
    assert any("negrefcocog: no file NegRefCOCOg.json" in one.advice and "parkquasar" in one.advice for one in absent)
    with pytest.raises(ConfigError, match="did you mean 'negrefcocog'"):
        released("negrefcoco")


@pytest.mark.real_data
def test_released_files_hold_what_their_papers_say(shared_data: Path) -> None:
    root = str(shared_data / "text")
    found = {one.benchmark.name: one.benchmark.items(*one.paths) for one in survey(root)[0]}
    coco, voc = found["negbench/mcq-coco"].items, found["negbench/mcq-voc2007"].items
    assert Counter(coco["type"].to_pylist()) == {"positive": 2032, "negative": 1870, "hybrid": 2012}
    assert Counter(voc["type"].to_pylist()) == {"positive": 682, "negative": 2121, "hybrid": 2228}
    assert set(coco["answer"].to_pylist()) == set(voc["answer"].to_pylist()) == {0}
    for name in ("negbench/retrieval-coco", "negbench/retrieval-neg-coco"):
        texts = found[name].items["texts"].to_pylist()
        assert (len(texts), sum(map(len, texts))) == (5000, 25014)
    assert found["negbench/retrieval-neg-coco"].notes == {"blank texts": 1}
    regions = found["negrefcocog"]
    assert (len(regions.items), regions.notes) == (440, {"duplicated rows": 1})
    assert {len(boxes) for boxes in regions.items["boxes_xywh_px"].to_pylist()} == {2}
    assert (len(found[EXISTENCE.name].items), len(found[EXISTENCE_VALIDATED.name].items)) == (534, 505)
    negated = sum(" no " in f" {row[0].lower()} " for row in found[EXISTENCE_VALIDATED.name].items["texts"].to_pylist())
    assert negated == 256
