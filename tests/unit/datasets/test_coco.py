from __future__ import annotations

from pathlib import Path

import pytest

from negscale.core.errors import ConfigError
from negscale.core.image import ImageError
from negscale.datasets.coco import CocoConfig
from tests.unit.datasets.layouts import kinds, picture, read_all, write_coco


def entry(number: int, **more: object) -> dict[str, object]:
    return {"id": number, "file_name": f"{number:012d}.jpg", "height": 8, "width": 8, **more}


def note(number: int, image: int, caption: object) -> dict[str, object]:
    return {"id": number, "image_id": image, "caption": caption}


def config(root: Path, **more: object) -> CocoConfig:
    return CocoConfig(root=str(root), split="val2017", **more)  # pyright: ignore[reportArgumentType]


def test_rows_follow_the_images_and_carry_all_captions(tmp_path: Path) -> None:
    write_coco(
        tmp_path, [entry(9), entry(4), entry(5)],
        [note(1, 4, "a dog"), note(2, 9, "a cat"), note(3, 4, "a brown dog\n"), note(4, 9, "cats")],
    )  # fmt: skip
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / "000000000004.jpg").write_bytes(picture(77))
    source = config(tmp_path, shard_rows=3).build()
    rows = read_all(source)
    assert [row["id"] for row in rows] == ["000000000009-2", "000000000009-4", "000000000004-1", "000000000004-3"]
    assert rows[3]["caption"] == "a brown dog"
    assert rows[3]["image_captions"] == ["a dog", "a brown dog"]
    assert rows[2]["image"]["uri"] == "val2017/000000000004.jpg"
    assert rows[2]["image"]["height_px"] == 8
    assert kinds(rows) == [None] * 4
    assert source.list().identity["images_without_captions"] == 1
    reader = config(tmp_path).reader()
    assert reader.read(rows[2]["image"])[0, 0, 0] == 77
    with pytest.raises(ImageError, match=r"000000000009\.jpg") as caught:
        reader.read(rows[0]["image"])
    assert caught.value.kind == "missing_image"


def test_bad_rows_are_quarantined_and_none_is_lost(tmp_path: Path) -> None:
    notes = [
        note(1, 1, "fine"), note(2, 1, ""), note(3, 1, "word " * 10_000), note(4, 1, "bell \x07"),
        note(1, 1, "same id"), note(5, 77, "no such image"), note(6, 2, "image without a name"), note(7, 1, 12),
        {"id": 8, "image_id": 1}, "not a mapping", {"caption": "no ids"}, note(9, 1, "lone \ud800"),
    ]  # fmt: skip
    write_coco(tmp_path, [entry(1), {"id": 2}], notes)
    rows = read_all(config(tmp_path).build())
    assert len(rows) == len(notes)
    found = {row["id"]: row["quarantine"] and row["quarantine"]["kind"] for row in rows}
    assert found == {
        "000000000001-1": None, "000000000001-2": "empty_caption", "000000000001-3": "caption_too_long",
        "000000000001-4": "control_characters", "000000000001-1~2": "duplicate_id", "000000000001-7": "schema",
        "000000000001-8": "schema", "000000000001-9": "not_utf8", "000000000002-6": "missing_image_entry",
        "000000000077-5": "missing_image_entry", "annotation-000000009": "schema", "annotation-000000010": "schema",
    }  # fmt: skip
    assert all("word word" in " ".join(row["image_captions"]) for row in rows if row["image_id"] == "000000000001")


def test_bytes_that_are_not_utf8_cost_one_row(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [entry(1)], [note(1, 1, "CAFE"), note(2, 1, "fine")])
    path.write_bytes(path.read_bytes().replace(b"CAFE", b"caf\xe9"))
    rows = read_all(config(tmp_path).build())
    assert kinds(rows) == ["not_utf8", None]
    assert rows[0]["caption"] == "caf\ufffd"


def test_limit_and_overrides(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [entry(i) for i in range(1, 9)], [note(i, i, f"caption {i}") for i in range(2, 9)])
    other = path.rename(tmp_path / "mine.json")
    limited = config(tmp_path, captions="mine.json", image_folder="pictures", limit_images=3)
    rows = read_all(limited.build())
    assert [row["image"]["uri"] for row in rows] == [f"pictures/{i:012d}.jpg" for i in (2, 3, 4)]
    same = config(tmp_path, captions=str(other), image_folder="pictures", limit_images=3)
    assert same.identity() == limited.identity()
    assert read_all(same.build()) == rows
    assert config(tmp_path, captions="mine.json").identity() != limited.identity()


def test_one_row_an_image_still_knows_all_its_captions(tmp_path: Path) -> None:
    write_coco(tmp_path, [entry(4), entry(9)], [note(1, 4, "a dog"), note(2, 4, "a puppy"), note(3, 9, "a cat")])
    rows = read_all(config(tmp_path, captions_per_image=1).build())
    assert [row["id"] for row in rows] == ["000000000004-1", "000000000009-3"]
    assert rows[0]["image_captions"] == ["a dog", "a puppy"]


def test_wrong_split_names_the_splits_that_exist(tmp_path: Path) -> None:
    write_coco(tmp_path, [entry(1)], [note(1, 1, "x")], split="train2014")
    with pytest.raises(ConfigError, match=r"captions_val2017\.json; splits there: train2014"):
        config(tmp_path).build().list()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"images": [', "not JSON"),
        ("[]", "no list 'images'"),
        ('{"images": [], "info": 3}', r"no list 'annotations'.*\['images', 'info'\]"),
        ('{"images": [{"id": 1}], "annotations": [{"id": 1, "image_id": 1, "bbox": []}]}', "instances file"),
    ],
)
def test_files_that_are_not_captions(tmp_path: Path, text: str, says: str) -> None:
    write_coco(tmp_path, [], []).write_text(text)
    with pytest.raises(ConfigError, match=says):
        config(tmp_path).build().list()
