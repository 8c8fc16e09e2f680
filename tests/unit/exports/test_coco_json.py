"""The coco-json export: the released layout, ids, order, refusals, nothing half-written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from negscale.core.errors import FatalError, PlanError
from negscale.exports.coco_json import export_coco_json
from negscale.storage.parts import commit_shard
from tests.unit.exports.folders import SCHEMA, broken, make_run, rejected, row


def _export(run: Any, tmp_path: Path) -> dict[str, Any]:
    out = tmp_path / "out" / "captions.json"
    result = export_coco_json(run, str(out))
    data = json.loads(out.read_text())
    assert result.rows == len(data["annotations"])
    assert result.size_bytes == out.stat().st_size
    return data


def test_numeric_ids_give_the_released_layout_exactly(tmp_path: Path) -> None:
    shards = [
        [row("a", "000000391895", "770337"), row("b", "000000391895", "771687"), rejected("r")],
        [row("c", "522418", "681330"), broken("q")],
    ]
    data = _export(make_run(tmp_path / "run", shards), tmp_path)
    assert set(data) == {"info", "licenses", "images", "annotations"}
    assert data["annotations"] == [
        {
            "image_id": 391895,
            "id": 770337,
            "caption": "a dog beside a",
            "updated_caption": "a dog beside a without a cat",
        },
        {
            "image_id": 391895,
            "id": 771687,
            "caption": "a dog beside b",
            "updated_caption": "a dog beside b without a cat",
        },
        {
            "image_id": 522418,
            "id": 681330,
            "caption": "a dog beside c",
            "updated_caption": "a dog beside c without a cat",
        },
    ]
    assert data["images"] == [
        {"id": 391895, "file_name": "000000391895.jpg", "height": 480, "width": 640},
        {"id": 522418, "file_name": "522418.jpg", "height": 480, "width": 640},
    ]
    assert data["info"]["image_folder"] == "val2017"
    assert data["licenses"] == []


def test_other_ids_are_numbered_and_kept_beside_the_number(tmp_path: Path) -> None:
    shards = [[row("toy-1-0", "toy-1", "0"), row("toy-1-1", "toy-1", "1")], [row("toy-2-0", "toy-2", "0")]]
    data = _export(make_run(tmp_path / "run", shards), tmp_path)
    assert [(i["id"], i["source_id"]) for i in data["images"]] == [(1, "toy-1"), (2, "toy-2")]
    assert [(a["id"], a["image_id"], a["row_id"]) for a in data["annotations"]] == [
        (1, 1, "toy-1-0"), (2, 1, "toy-1-1"), (3, 2, "toy-2-0"),
    ]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), [("7", "007"), ("7", "x"), ("7", "9" * 30), ("7", "²")])
def test_ids_that_would_collide_or_are_no_numbers_are_all_counted(tmp_path: Path, first: str, second: str) -> None:
    shards = [[row("a", first, first), row("b", second, second)]]
    data = _export(make_run(tmp_path / "run", shards), tmp_path)
    assert sorted(i["source_id"] for i in data["images"]) == sorted([first, second])
    assert len({i["id"] for i in data["images"]}) == 2
    assert [a["row_id"] for a in data["annotations"]] == ["a", "b"]
    names = {i["id"]: i["source_id"] for i in data["images"]}
    assert [names[a["image_id"]] for a in data["annotations"]] == [first, second]


def test_an_image_whose_captions_lie_in_two_shards_is_listed_once(tmp_path: Path) -> None:
    data = _export(make_run(tmp_path / "run", [[row("a", "5", "1")], [row("b", "5", "2")]]), tmp_path)
    assert [i["id"] for i in data["images"]] == [5]


def test_images_in_archives_keep_their_span(tmp_path: Path) -> None:
    image = {"uri": "shards/a.tar", "offset": 512, "length": 99, "sha256": None, "height_px": None, "width_px": None}
    data = _export(make_run(tmp_path / "run", [[row("a", "5", "1", image=image)]]), tmp_path)
    assert data["images"] == [{"id": 5, "file_name": "a.tar", "offset": 512, "length": 99}]


def test_no_rows_and_odd_text_are_valid_json(tmp_path: Path) -> None:
    assert _export(make_run(tmp_path / "empty", [[rejected("r")]]), tmp_path)["annotations"] == []
    text = 'quote " back\\slash \u2028 \u0007 雪 no cat'
    data = _export(make_run(tmp_path / "run", [[row("a", "1", "1", negated_caption=text)]]), tmp_path)
    assert data["annotations"][0]["updated_caption"] == text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[row(f"{s}-{i}", f"im{i}", str(i)) for i in range(5)] for s in range(20)])
    for name in ("1.json", "2.json"):
        export_coco_json(run, str(tmp_path / name))
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_refusals_name_the_way_out(tmp_path: Path) -> None:
    out = str(tmp_path / "x.json")
    unfinished = make_run(tmp_path / "unfinished", [[row("a", "1", "1")]], finish=False)
    with pytest.raises(PlanError, match=r"not finished \(1 of 1 shards"):
        export_coco_json(unfinished, out)
    sick_rows = [broken(f"q{i:04d}") for i in range(100)] + [row(f"k{i:04d}", "1", "1") for i in range(900)]
    sick = make_run(tmp_path / "sick", [sick_rows])
    with pytest.raises(PlanError, match=r"100 of 1000 rows broke.*--allow-over-budget"):
        export_coco_json(sick, out)
    assert not os.path.exists(out)
    assert export_coco_json(sick, out, allow_over_budget=True).rows == 900


def test_a_run_that_a_retry_is_changing_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[row("a", "1", "1"), broken("b")]])
    commit_shard(
        run.folder, "part-000", 1, pa.Table.from_pylist([row("a", "1", "1"), row("b", "2", "2")], SCHEMA), rows_read=2
    )
    with pytest.raises(PlanError, match="retry is running or was interrupted"):
        export_coco_json(run, str(tmp_path / "x.json"))


def test_a_run_without_negated_captions_is_refused(tmp_path: Path) -> None:
    schema = SCHEMA.remove(SCHEMA.get_field_index("negated_caption"))
    plain = {k: v for k, v in row("a", "1", "1").items() if k != "negated_caption"}
    with pytest.raises(PlanError, match=r"needs the columns \['negated_caption'\]"):
        export_coco_json(make_run(tmp_path / "run", [[plain]], schema), str(tmp_path / "x.json"))


def test_a_failed_export_leaves_the_old_file_and_no_scrap(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[row("a", "1", "1")], [row("b", "2", "2")]])
    out = tmp_path / "out" / "captions.json"
    export_coco_json(run, str(out))
    before = out.read_bytes()
    part = next((tmp_path / "run" / "data").glob("part-001*"))
    blob = part.read_bytes()
    part.write_bytes(blob[:4] + b"\0" * 200 + blob[204:])  # the pages are damaged, the footer is not
    with pytest.raises(Exception, match=r"."):
        export_coco_json(run, str(out))
    assert out.read_bytes() == before
    assert [p.name for p in out.parent.iterdir()] == ["captions.json"]


def test_bad_places_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[row("a", "1", "1")]])
    with pytest.raises(PlanError, match="is a folder"):
        export_coco_json(run, str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(FatalError, match="Nothing was published"):
        export_coco_json(run, str(tmp_path / "file" / "x.json"))
