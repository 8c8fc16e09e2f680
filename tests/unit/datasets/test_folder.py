from __future__ import annotations

from pathlib import Path

import pytest

from negscale.core.errors import ConfigError
from negscale.core.image import ImageError
from negscale.datasets.folder import FolderConfig
from tests.unit.datasets.layouts import kinds, picture, read_all


def config(root: Path, **more: object) -> FolderConfig:
    return FolderConfig(root=str(root), **more)  # pyright: ignore[reportArgumentType]


def test_several_captions_per_image_lie_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name, value in (("a.png", 10), ("b.png", 20), ("unused.png", 30)):
        (tmp_path / "images" / name).write_bytes(picture(value))
    text = 'image,caption\na.png,a dog\nb.png,"a cat, sitting"\na.png,a brown dog\ngone.png,nowhere\n'
    (tmp_path / "captions.csv").write_text(text)
    source = config(tmp_path, shard_rows=2).build()
    rows = read_all(source)
    assert [row["id"] for row in rows] == ["a.png-0", "a.png-1", "b.png-0", "gone.png-0"]
    assert rows[0]["image_captions"] == ["a dog", "a brown dog"]
    assert rows[2]["caption"] == "a cat, sitting"
    assert kinds(rows) == [None] * 4
    reader = config(tmp_path).reader()
    assert [reader.read(row["image"])[0, 0, 0] for row in rows[:3]] == [10, 10, 20]
    with pytest.raises(ImageError, match=r"gone\.png"):
        reader.read(rows[3]["image"])
    assert source.list().identity["images_without_captions"] == 1


def test_bad_lines_are_rows_too(tmp_path: Path) -> None:
    lines = [b"id,image,caption", b"1,a.png,fine", b"1,a.png,again", b"2,a.png,", b"3,,no image", b"4,a.png,caf\xe9",
             b"5,a.png,one,two", b"6", b"7,a.png," + b"word " * 9000, b"8,a.png,nul \0"]  # fmt: skip
    (tmp_path / "captions.csv").write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines) + b"\n")
    rows = read_all(config(tmp_path, id_column="id").build())
    found = sorted((row["id"], row["quarantine"] and row["quarantine"]["kind"]) for row in rows)
    assert len(rows) == len(lines) - 1
    expected = {"1": None, "1~2": "duplicate_id", "2": "empty_caption", "3": "missing_image_entry", "4": "not_utf8"}
    assert dict(found[:5]) == expected
    assert sorted(kind or "" for kind in kinds(rows))[-5:] == [
        "empty_caption", "missing_image_entry", "not_utf8", "schema", "schema",
    ]  # fmt: skip
    assert "caption_too_long" in kinds(rows)
    assert "control_characters" in kinds(rows)


def test_json_lines_with_lists(tmp_path: Path) -> None:
    lines = ['{"file": "a.png", "texts": ["one", "two"]}', "{broken", '{"file": 3}', '{"file": "b.png", "texts": "x"}']
    (tmp_path / "my.jsonl").write_text("\n".join(lines))
    rows = read_all(config(tmp_path, captions="my.jsonl", image_column="file", caption_column="texts").build())
    assert [(row["id"], kind) for row, kind in zip(rows, kinds(rows), strict=True)] == [
        ("a.png-0", None), ("a.png-1", None), ("line-000000002", "schema"), ("line-000000003", "schema"),
        ("b.png-0", None),
    ]  # fmt: skip


def test_flickr8k_token_file_and_tsv(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text('1.jpg#0\tA dog .\n1.jpg#1\t"quoted\n2.jpg#0\tA cat .\nrubbish\n')
    rows = read_all(config(tmp_path).build())
    assert [row["id"] for row in rows] == ["1.jpg-0", "1.jpg-1", "2.jpg-0", "line-000000004"]
    assert rows[1]["caption"] == '"quoted'
    assert kinds(rows)[3] == "schema"
    (tmp_path / "captions.tsv").write_text('caption\timage\n"a dog\tx.jpg\n')
    assert read_all(config(tmp_path).build())[0]["caption"] == '"a dog'


def test_missing_column_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"captions\.csv"):
        config(tmp_path).build().list()
    (tmp_path / "captions.csv").write_text("file_name,text\na.png,x\n")
    with pytest.raises(ConfigError, match="no column 'image'; the columns are file_name, text"):
        config(tmp_path).build().list()
    assert len(read_all(config(tmp_path, image_column="file_name", caption_column="text").build())) == 1
    with pytest.raises(ConfigError, match="there is no file"):
        config(tmp_path, captions="other.csv").build().list()
