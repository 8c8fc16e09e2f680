"""The released NeIn files as a source: both forms, images under COCO's names, and what is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from negscale.core.errors import ConfigError
from negscale.core.schema import ENVELOPE
from negscale.datasets.images import ImageReader
from negscale.datasets.nein_files import SCHEMA, NeinFilesConfig
from tests.unit.datasets.layouts import kinds, picture

ENTRY = {
    "COCO": "COCO_000000000009", "T_original": "A plate of food.", "T_negative": "No hourglass in the image.",
    "T_generated": "Add a hourglass.", "NeIn": "NeIn_000000000009_1",
}  # fmt: skip
LISTS = {
    "COCO": "COCO_000000000025", "T_original": ["A giraffe.", "Two giraffes.", "Trees."],
    "T_negative": ["The image is without person.", "Wine glass is missing from the image."],
    "T_generated": ["Add a person.", "Add a wine glass."], "NeIn": ["NeIn_000000000025_1", "NeIn_000000000025_2"],
}  # fmt: skip


def files(
    folder: Path, entries: Any, made: tuple[str, ...] = ("NeIn_000000000009_1",), source: str = "COCO_{}.jpg"
) -> Path:
    (folder / "coco").mkdir(parents=True)
    (folder / "NeIn_images").mkdir()
    for number, name in enumerate(made):
        (folder / f"NeIn_images/{name}.jpg").write_bytes(picture(10 + number))
    for number in ("000000000009", "000000000025"):
        (folder / "coco" / source.format(number)).write_bytes(picture(200))
    (folder / "eval.json").write_text(json.dumps(entries))
    return folder


def rows_of(folder: Path, **config: Any) -> list[dict[str, Any]]:
    source = NeinFilesConfig(root=str(folder), **config).build()
    listing = source.list()
    at, rows = 0, []
    for shard in listing.shards:
        table = source.read(shard, listing.index.slice(at, shard.rows) if listing.index is not None else None)
        assert table.schema.equals(pa.schema([*ENVELOPE, *SCHEMA]))
        at += shard.rows
        rows += table.to_pylist()
    return rows


@pytest.mark.parametrize("source", ["COCO_{}.jpg", "COCO_train2014_{}.jpg", "{}.jpg"])
def test_quintuplets_come_with_both_images(source: str, tmp_path: Path) -> None:
    folder = files(tmp_path, [ENTRY], source=source)
    (row,) = rows_of(folder)
    assert (row["id"], row["image_id"], row["absent_object"]) == (
        "NeIn_000000000009_1",
        "COCO_000000000009",
        "hourglass",
    )
    assert (row["caption"], row["split"]) == ("A plate of food.", "eval")
    assert row["negative_instruction"] == "No hourglass in the image."
    reader = ImageReader(str(folder))
    assert reader.read(row["image"]).mean() == pytest.approx(200, abs=2)
    assert reader.read(row["image_with_object"]).mean() == pytest.approx(10, abs=2)
    # the source images may lie elsewhere
    (other,) = rows_of(folder, source_root=str(folder / "coco"))
    assert other["image"]["uri"] == source.format("000000000009")


def test_lists_give_an_edit_each(tmp_path: Path) -> None:
    made = ("NeIn_000000000025_1", "NeIn_000000000025_2", "NeIn_000000000009_1")
    rows = rows_of(files(tmp_path, [LISTS, ENTRY], made), shard_rows=2, split="train")
    assert [row["id"] for row in rows] == list(made)
    assert [row["absent_object"] for row in rows] == ["person", "wine glass", "hourglass"]
    assert [row["caption"] for row in rows] == ["A giraffe.", "Two giraffes.", "A plate of food."]
    assert kinds(rows) == [None] * 3


def test_bad_entries_are_quarantined(tmp_path: Path) -> None:
    bad = [
        ENTRY, ENTRY, {**ENTRY, "NeIn": "NeIn_gone_1"}, {**ENTRY, "COCO": "COCO_000000000077", "NeIn": "a"},
        {**ENTRY, "T_generated": "Remove the dog.", "NeIn": "b"}, {**ENTRY, "T_negative": " ", "NeIn": "c"},
    ]  # fmt: skip
    rows = rows_of(files(tmp_path, bad))
    assert kinds(rows) == [None, "duplicate_id", "missing_image", "missing_image", "schema", "schema"]
    assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("text", "said"), [("{", "no JSON"), ("{}", "dict"), ("[]", "list"), ('[{"COCO": 1}]', "entry 0"), ("[3]", "int")]
)
def test_other_files_are_refused(text: str, said: str, tmp_path: Path) -> None:
    folder = files(tmp_path, [])
    (folder / "eval.json").write_text(text)
    with pytest.raises(ConfigError, match=said):
        rows_of(folder)
    with pytest.raises(ConfigError, match=r"source\.annotations: there is no file"):
        rows_of(folder, annotations="other.json")
