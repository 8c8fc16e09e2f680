"""RefCOCO's layout as JSON and Parquet; pickles and other layouts are refused with what to do."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negscale.core.errors import ConfigError
from negscale.core.schema import ENVELOPE, EXPRESSION
from negscale.datasets.refcoco import RefcocoConfig

IMAGES = [{"id": 7, "file_name": "COCO_train2014_000000000007.jpg", "width": 640, "height": 480}]
NOTES: list[dict[str, Any]] = [
    {"id": 11, "image_id": 7, "category_id": 18, "bbox": [1.5, 2, 30, 40], "iscrowd": 0},
    {"id": 12, "image_id": 7, "category_id": 18, "bbox": [100, 2, 30, 40], "iscrowd": 1},
    {"id": 13, "image_id": 7, "category_id": 18, "bbox": [1, 2, 0, 40]},
]


def ref(number: int, *said: str, ann: int = 11, image: int = 7, split: str = "train") -> dict[str, Any]:
    sentences = [
        {"sent_id": 100 * number + k, "raw": text.upper(), "sent": text, "tokens": text.split()}
        for k, text in enumerate(said)
    ]
    return {
        "ref_id": number, "ann_id": ann, "image_id": image, "file_name": "COCO_train2014_000000000007_11.jpg",
        "split": split, "category_id": 18, "sentences": sentences, "sent_ids": [s["sent_id"] for s in sentences],
    }  # fmt: skip


def write(root: Path, refs: Any, name: str = "refs_umd.json") -> RefcocoConfig:
    content = {"images": IMAGES, "annotations": NOTES, "categories": [{"id": 18, "name": "dog"}]}
    (root / "instances.json").write_text(json.dumps(content))
    if name.endswith(".json"):
        (root / name).write_text(json.dumps(refs))
    else:
        pq.write_table(pa.Table.from_pylist(refs), root / name)
    return RefcocoConfig(root=str(root), refs=name)


def read(config: RefcocoConfig) -> list[dict[str, Any]]:
    source = config.build()
    listing, rows, at = source.list(), [], 0
    assert listing.index is not None
    for shard in listing.shards:
        table = source.read(shard, listing.index.slice(at, shard.rows))
        at += shard.rows
        assert table.schema.equals(pa.schema([*ENVELOPE, *EXPRESSION]))
        rows += table.to_pylist()
    return rows


@pytest.mark.parametrize("name", ["refs_umd.json", "refs.parquet"])
def test_one_row_per_expression_with_every_object_of_the_image(tmp_path: Path, name: str) -> None:
    rows = read(write(tmp_path, [ref(1, "dog with no ball", "brown dog"), ref(2, "other dog")], name))
    assert [row["id"] for row in rows] == ["100", "101", "200"]
    first = rows[0]
    assert first["quarantine"] is None
    assert first["expression"] == "dog with no ball"
    assert first["image"]["uri"] == "train2014/COCO_train2014_000000000007.jpg"
    assert (first["image"]["width_px"], first["image"]["height_px"]) == (640, 480)
    assert first["referred_id"] == "11"
    assert first["instances"] == [
        {"id": "11", "category": "dog", "box_xywh_px": [1.5, 2, 30, 40], "crowd": False},
        {"id": "12", "category": "dog", "box_xywh_px": [100, 2, 30, 40], "crowd": True},
    ]  # fmt: skip


def test_json_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    refs = [ref(1, "dog with no ball"), ref(2, "a", "b")]
    assert read(write(tmp_path, refs)) == read(write(tmp_path, refs, "refs.parquet"))


def test_names_and_splits(tmp_path: Path) -> None:
    config = write(tmp_path, [ref(1, "a", split="val"), ref(2, "b", "c", split="train")])
    rows = read(config.model_copy(update={"splits": ("val",), "image_names": "2017", "image_folder": "train2017"}))
    assert [row["id"] for row in rows] == ["100"]
    assert rows[0]["image"]["uri"] == "train2017/000000000007.jpg"
    with pytest.raises(ConfigError, match="'train': 2"):
        config.model_copy(update={"splits": ("tset",)}).build().list()


def test_bad_refs_are_quarantined_rows(tmp_path: Path) -> None:
    refs = [
        ref(1, ""), ref(2, "a", ann=99), ref(3, "a", ann=13), ref(4, "a", image=8), {"ref_id": 5}, ref(6, "a"), ref(6, "b"),
        {**ref(7), "sentences": [{"sent": "no id"}]}, {**ref(8, "a"), "image_id": [7]},
    ]  # fmt: skip
    rows = read(write(tmp_path, refs))
    assert [row["quarantine"] and row["quarantine"]["kind"] for row in rows] == [
        "empty_caption", "missing_annotation", "bad_annotation", "missing_image_entry", "schema", None, "duplicate_id",
        "schema", "schema",
    ]  # fmt: skip
    assert rows[6]["id"] == "600~2"


@pytest.mark.parametrize("name", ["refs(umd).p", "disguised.json"])
def test_pickles_are_never_opened(tmp_path: Path, name: str) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    config = write(tmp_path, [ref(1, "a")]).model_copy(update={"refs": name})
    (tmp_path / name).write_bytes(pickle.dumps([Trap()]))
    with pytest.raises(ConfigError, match=r"pickle.*--network none"):
        config.build().list()
    assert not (tmp_path / "ran").exists()


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    config = write(tmp_path, [{"question": "q", "bbox": [1, 2, 3, 4], "file_name": "x"}], "refs.parquet")
    with pytest.raises(ConfigError, match=r"no column 'ref_id'.*found question"):
        config.build().list()
    with pytest.raises(ConfigError, match="expected a list of refs"):
        write(tmp_path, {"a": 1}).build().list()
    (tmp_path / "refs_umd.json").write_text("(lp0")
    with pytest.raises(ConfigError, match="neither JSON nor Parquet"):
        RefcocoConfig(root=str(tmp_path)).build().list()
    with pytest.raises(ConfigError, match="there is no file"):
        RefcocoConfig(root=str(tmp_path), refs="none.json").build().list()
